//! # Where weights have no effect

use guestreq_common::policy::Backend;

/// Why weights have no effect with a backend.
pub fn without_order(backend: Backend) -> Option<String> {
    (backend != Backend::Gate).then(|| {
        format!(
            "a weight has no effect with backend {}: only the gate puts requests in an order",
            backend.name()
        )
    })
}
