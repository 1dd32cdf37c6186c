//! Which Kafka the tests run against: `WEIR_E2E_KAFKA`.

/// Whether Apache Kafka is asked for; the embedded broker is the default.
///
/// # Panics
/// If something else is asked for.
#[must_use]
pub fn is_apache() -> bool {
    let Some(asked) = crate::environment::text("WEIR_E2E_KAFKA") else {
        return false;
    };
    match asked.to_str() {
        Some("apache") => true,
        Some("embedded") => false,
        _ => panic!("WEIR_E2E_KAFKA={asked:?}: it can be `embedded` (the default) or `apache`"),
    }
}
