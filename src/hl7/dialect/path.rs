//! A field by its name: `PV1-3`, `MSH-3.2`, `PV1-3.3.2` (segment, field, component, sub-component).

use super::super::{Field, Segment};

/// The place of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    pub segment: [u8; 3],
    pub field: u16,
    /// 0: the whole field.
    pub component: u8,
    /// 0: the whole component.
    pub subcomponent: u8,
}

impl Path {
    /// Reads one; `None` where it is none.
    pub fn parse(text: &str) -> Option<Path> {
        let (segment, rest) = text.split_once('-')?;
        let segment: [u8; 3] = segment.as_bytes().try_into().ok()?;
        if !segment.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return None;
        }
        let mut parts = rest.split('.');
        let field = parts.next()?.parse().ok().filter(|n| (1..=99).contains(n))?;
        let component = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        let subcomponent = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        parts.next().is_none().then_some(Path { segment, field, component, subcomponent })
    }

    /// The field in its segment.
    pub fn of<'a>(self, segment: &Segment<'a>) -> Field<'a> {
        self.within(segment.field(self.field as usize))
    }

    /// The component and sub-component in the field.
    pub fn within<'a>(self, field: Field<'a>) -> Field<'a> {
        match (self.component, self.subcomponent) {
            (0, _) => field,
            (component, 0) => field.component(component as usize),
            (component, sub) => field.component(component as usize).subcomponent(sub as usize),
        }
    }
}

/// As in a table.
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", String::from_utf8_lossy(&self.segment), self.field)?;
        if self.component > 0 {
            write!(f, ".{}", self.component)?;
        }
        if self.subcomponent > 0 {
            write!(f, ".{}", self.subcomponent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_and_written_alike() {
        for text in ["MSH-3", "PV1-3.1", "PV1-3.3.2", "OBX-18"] {
            assert_eq!(Path::parse(text).map(|path| path.to_string()).as_deref(), Some(text));
        }
        for wrong in ["MSH3", "MSH-0", "PV-3", "PV1-3.1.2.3", "PV1-a", "pv1-3", ""] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }
}
