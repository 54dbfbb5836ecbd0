//! What concerns several beds, and what is said of wards and of the installation.

use super::*;

/// Alerts that a notice names at most; its count has them all.
const CAUSES_MAX: usize = 256;

impl Monitor {
    /// Looks at the raises and ends since the last call, as the fleet sees them.
    pub(super) fn together(&mut self, at: Timestamp) {
        self.look_at_clock_notice(at);
        // What is said here is heard here again (a folded alert that is updated or ends). It comes to an end: an alert ends
        // once, and is updated once in five seconds.
        while !self.events.is_empty() {
            let events = std::mem::take(&mut self.events);
            for event in &events {
                self.fleet_event(event, at);
            }
        }
    }

    fn fleet_event(&mut self, event: &AlertEvent, at: Timestamp) {
        let alert = &event.alert;
        let Some(number) = self.by_slug.get(&place::key(&alert.ward, &alert.bed)).copied() else { return };
        if self.cells[number as usize].reserved {
            return;
        }
        let group = match event.event {
            EventKind::Raised if alert.because.is_none() => {
                let Some(check) = alert.condition.split(' ').next().and_then(CheckId::from_id) else { return };
                let feed = self.cells[number as usize].feed.clone();
                let cells = &self.cells;
                let name = feed.clone();
                let feed_beds = || cells.iter().filter(|c| !c.reserved && c.heard && !c.bed.off && c.feed == name).count();
                let raise = Raise {
                    check,
                    assessment: alert.assessment,
                    priority: alert.priority,
                    feed,
                    bed: number,
                    alert: alert.id.clone(),
                    at,
                };
                self.fleet.raised(raise, feed_beds, &self.house.settings.episodes)
            }
            EventKind::Cleared | EventKind::Expired => self.fleet.ended(number, &alert.id),
            _ => None,
        };
        if let Some(group) = group {
            self.group(group, at);
        }
    }

    /// Brings the notice of a group up to date, and folds its members under it.
    fn group(&mut self, position: usize, at: Timestamp) {
        let group = self.fleet.groups[position].clone();
        if group.members.is_empty() {
            self.fleet.groups.remove(position);
            if let Some(place) = group.place {
                self.inject_pass(place, group.notice, at);
            }
            return;
        }
        let place = match group.place {
            Some(place) => place,
            None => {
                let ward = &self.cells[group.members[0].0 as usize].bed.ward;
                let one_ward = group.members.iter().all(|(bed, _)| self.cells[*bed as usize].bed.ward == *ward);
                let ward = ward.clone();
                let place = if one_ward { self.reserved(&ward, WARD, at) } else { self.reserved(SITE, SITE, at) };
                self.fleet.groups[position].place = Some(place);
                place
            }
        };
        let silent = Some(group.check) == self.silence;
        let newest = group.members.last().map_or(0, |(bed, _)| *bed);
        let priority = if silent && self.whole_ward(newest, at) { Priority::High } else { group.priority };
        self.fleet.groups[position].priority = priority;
        let beds = group.members.len() as u32;
        let verdict = Verdict {
            assessment: Some(group.assessment),
            priority: Some(priority),
            value: Some(f64::from(beds)),
            limit: Some(f64::from(self.house.settings.episodes.collapse_beds)),
            unit: "{beds}",
            window_s: self.house.settings.episodes.collapse_s,
            args: [("n", Arg::Number(f64::from(beds), 0)), ("t", Arg::Time(group.onset))].into_iter().collect(),
            ..Verdict::new(group.notice, ParamSet::EMPTY, group.onset)
        };
        self.inject(place, verdict, at);
        let members = group.members.iter().take(CAUSES_MAX).map(|(_, alert)| alert.as_str());
        self.cells[place as usize].episodes.set_members(group.notice, members, beds, priority);
        self.settle(place, at);
        let notice =
            self.cells[place as usize].episodes.list.iter().find(|e| e.check == group.notice && e.open()).map(|e| e.id.clone());
        // Once folded a member stays so: then only the newest is new.
        let from = if notice == group.folded { group.members.len() - 1 } else { 0 };
        self.fleet.groups[position].folded.clone_from(&notice);
        for (bed, alert) in &group.members[from..] {
            let cell = &mut self.cells[*bed as usize];
            cell.episodes.fold(alert, notice.as_deref());
            let due = cell.episodes.deadline(&cell.findings, &self.house.settings.episodes);
            if due > at {
                cell.house_at = cell.house_at.min(due);
                self.enqueue(*bed);
            } else {
                self.settle(*bed, at);
            }
        }
    }

    /// Whether the ward of a bed has lost every one of its beds, two at least.
    fn whole_ward(&self, bed: u32, at: Timestamp) -> bool {
        let Some(ward) = self.wards.iter().find(|w| w.cells.contains(&bed)) else { return false };
        let heard = ward.cells.iter().map(|n| &self.cells[*n as usize]).filter(|c| !c.reserved && c.heard && !c.bed.off);
        let (mut beds, mut silent) = (0, 0);
        for cell in heard {
            beds += 1;
            silent += u32::from(!cell.live(at));
        }
        beds >= 2 && beds == silent
    }

    /// A finding that no check of a bed has made.
    pub(super) fn inject(&mut self, number: u32, verdict: Verdict, at: Timestamp) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        verdicts.push(verdict);
        verdicts.mute(self.house.settings.muted);
        let cell = &mut self.cells[number as usize];
        cell.findings.observe(&verdicts, at, None, &cell.bed, &Origin::default);
        self.verdicts = verdicts;
        self.settle(number, at);
    }

    pub(super) fn inject_pass(&mut self, number: u32, check: CheckId, at: Timestamp) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        verdicts.pass(check);
        let cell = &mut self.cells[number as usize];
        cell.findings.observe(&verdicts, at, None, &cell.bed, &Origin::default);
        self.verdicts = verdicts;
        self.settle(number, at);
    }
}
