//! The order of messages. Pure.

/// The last `(epoch, seq)` of a stream of messages; it must rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageSequence {
    last: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Newer,
    /// Repeated or overtaken: to be dropped.
    Stale,
}

impl MessageSequence {
    /// The sequence whose last message has this number.
    pub fn at(epoch: u64, seq: u64) -> Self {
        Self { last: Some((epoch, seq)) }
    }

    /// Takes the number of a message. The first one is the baseline.
    pub fn take(&mut self, epoch: u64, seq: u64) -> Freshness {
        if self.last.is_some_and(|last| (epoch, seq) <= last) {
            return Freshness::Stale;
        }
        self.last = Some((epoch, seq));
        Freshness::Newer
    }

    /// How many messages are missing before this one, within its epoch.
    pub fn missing(&self, epoch: u64, seq: u64) -> u64 {
        match self.last {
            Some((last_epoch, last)) if last_epoch == epoch => seq.saturating_sub(last.saturating_add(1)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_drops_what_is_not_newer_and_counts_gaps() {
        let mut sequence = MessageSequence::default();
        assert_eq!(sequence.take(3, 7), Freshness::Newer);
        assert_eq!(
            (sequence.take(3, 7), sequence.take(3, 6), sequence.take(2, 99)),
            (Freshness::Stale, Freshness::Stale, Freshness::Stale)
        );
        assert_eq!((sequence.missing(3, 8), sequence.missing(3, 11), sequence.missing(4, 50)), (0, 3, 0));
        assert_eq!(sequence.take(4, 1), Freshness::Newer);
    }
}
