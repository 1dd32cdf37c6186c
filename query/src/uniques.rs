//! How far off a number of distinct users may be.

/// `uniqCombined64(17)`: the worst of 40 seeds at any size up to 10 million was 0.8 %
/// (ARCHITECTURE.md has the table); its standard error is 0.29 %.
const ERROR_PCT: f64 = 1.0;
/// Up to here it counts one by one.
const EXACT_MAX: u64 = 4_000;

/// Percent; 0 where `users` was counted one by one.
pub(crate) fn error_pct(exact: bool, users: impl IntoIterator<Item = u64>) -> f64 {
    if exact || users.into_iter().all(|users| users <= EXACT_MAX) {
        0.0
    } else {
        ERROR_PCT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_counted_one_by_one_is_exact() {
        assert_eq!(error_pct(false, [0, EXACT_MAX]), 0.0);
        assert_eq!(error_pct(false, [0, EXACT_MAX + 1]), ERROR_PCT);
        assert_eq!(error_pct(true, [EXACT_MAX + 1]), 0.0);
    }
}
