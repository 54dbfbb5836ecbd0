//! Short lists that are asked in the order in which they were written: one comparison an entry instead of half of the list.

/// Where the one entry stands that is meant; it is looked for at `next` first, which then is the place behind it.
#[inline]
pub fn find<T>(list: &[T], next: &mut usize, meant: impl Fn(&T) -> bool) -> Option<usize> {
    let at = match list.get(*next) {
        Some(entry) if meant(entry) => *next,
        _ => list.iter().position(meant)?,
    };
    *next = at + 1;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_finds_every_entry() {
        let list = [3, 1, 4, 5, 9];
        for asked in [[3, 1, 4, 5, 9], [9, 5, 4, 1, 3], [4, 9, 1, 3, 5]] {
            let mut next = 0;
            for entry in asked {
                assert_eq!(find(&list, &mut next, |e| *e == entry), list.iter().position(|e| *e == entry));
                assert_eq!(find(&list, &mut next, |e| *e == 7), None);
            }
        }
    }
}
