//! Cutting a set into numbered parts, and putting the parts of one digest together again.

use serde::Serialize;

use super::PART_BUDGET;
use super::digest::Rev;

/// Groups items so that the JSON of each group stays within the budget of one part. There is always at least one group.
pub fn groups<T: Serialize>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = vec![Vec::new()];
    let mut used = 0;
    for item in items {
        let size = serde_json::to_string(&item).map_or(0, |s| s.len() + 1);
        if used > 0 && used + size > PART_BUDGET {
            groups.push(Vec::new());
            used = 0;
        }
        used += size;
        if let Some(last) = groups.last_mut() {
            last.push(item);
        }
    }
    groups
}

/// Collects the parts of one message set. A part of another set throws the collected ones away: the newest wins.
#[derive(Debug)]
pub struct Assembler<P> {
    key: Option<(Option<Rev>, Rev, u32)>,
    parts: Vec<Option<P>>,
}

impl<P> Default for Assembler<P> {
    fn default() -> Self {
        Self { key: None, parts: Vec::new() }
    }
}

/// The most parts that one set may have: 4 MiB, far above 60 devices of 4 kB.
pub const MAX_PARTS: u32 = 64;

impl<P> Assembler<P> {
    /// Takes a part in; gives all parts in order once they are there. A part with an impossible number is dropped.
    pub fn take(&mut self, base: Option<Rev>, rev: Rev, part: u32, parts: u32, payload: P) -> Option<Vec<P>> {
        if parts == 0 || parts > MAX_PARTS || part == 0 || part > parts {
            return None;
        }
        let key = (base, rev, parts);
        if self.key.as_ref() != Some(&key) {
            self.parts = (0..parts).map(|_| None).collect();
            self.key = Some(key);
        }
        let place = usize::try_from(part - 1).ok()?;
        *self.parts.get_mut(place)? = Some(payload);
        if self.parts.iter().any(Option::is_none) {
            return None;
        }
        self.key = None;
        Some(std::mem::take(&mut self.parts).into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Digest;

    fn rev(n: u8) -> Rev {
        Rev::over([("u", i64::from(n), &Digest::of(b"x"))])
    }

    #[test]
    fn groups_stay_within_the_budget_and_lose_nothing() {
        let items: Vec<String> = (0..60).map(|i| format!("{i}{}", "x".repeat(4000))).collect();
        let cut = groups(items.clone());
        assert!(cut.len() > 1 && cut.iter().all(|g| serde_json::to_string(g).unwrap().len() <= PART_BUDGET + 2));
        assert_eq!(cut.concat(), items);
        assert_eq!(groups(Vec::<u8>::new()).len(), 1);
    }

    #[test]
    fn parts_come_together_in_any_order_and_only_when_all_are_there() {
        let mut a = Assembler::default();
        assert_eq!(a.take(None, rev(1), 2, 2, 'b'), None);
        assert_eq!(a.take(None, rev(1), 2, 2, 'b'), None);
        assert_eq!(a.take(None, rev(1), 1, 2, 'a'), Some(vec!['a', 'b']));
    }

    #[test]
    fn a_part_of_another_set_starts_over() {
        let mut a = Assembler::default();
        assert_eq!(a.take(None, rev(1), 1, 2, 'a'), None);
        assert_eq!(a.take(None, rev(2), 2, 2, 'z'), None);
        assert_eq!(a.take(None, rev(1), 2, 2, 'b'), None);
        assert_eq!(a.take(Some(rev(9)), rev(1), 1, 1, 'q'), Some(vec!['q']));
        assert_eq!(a.take(None, rev(1), 3, 2, 'x'), None);
    }
}
