//! The published descriptions of REST and WebSocket, made from the very types that are sent: `schemas/openapi.json` and
//! `schemas/asyncapi.json` are what these functions give, and `tests/tests/schemas.rs` holds it so.

mod asyncapi;
mod components;
mod openapi;
mod routes;
pub(crate) mod shapes;
pub(crate) mod values;

pub use asyncapi::asyncapi;
pub use openapi::openapi;

use parley_domain::Code;
use serde_json::{Value, json};

use crate::code;

/// The version of the interface; `/v1` only grows.
const VERSION: &str = "1";

/// Methods (in lower case) and paths of all REST calls, the WebSocket's handshake and the probes.
#[must_use]
pub fn routes() -> Vec<(&'static str, &'static str)> {
    routes::ROUTES.iter().map(|route| (route.method, route.path)).collect()
}

/// Every error code with its HTTP status.
fn error_codes() -> Value {
    let codes = Code::ALL.iter().map(|code| {
        json!({
            "code": code::name(*code),
            "status": code::http_status(*code),
            "retryable": code::retryable(*code),
        })
    });
    codes.collect()
}
