//! Where a number lies that is not known.

/// "between 1 and 2", or less if less is known; `amount` writes down an amount.
pub(crate) fn truth(low: u64, high: Option<u64>, amount: impl Fn(u64) -> String) -> String {
    match (low, high) {
        (low, Some(high)) => format!("between {} and {}", amount(low), amount(high)),
        (0, None) => "at an unknown distance".to_owned(),
        (low, None) => format!("at least {}", amount(low)),
    }
}
