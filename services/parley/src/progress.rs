//! How far a long command has come: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// The bar; hidden if standard error is no terminal.
pub(crate) fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{msg:10} {bar:40} {human_pos}/{human_len} {per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// An export's step, as [`show`] takes it.
pub(crate) fn exported(done: u64, total: u64) -> Value {
    json!({"exported": done, "of": total})
}

/// Shows a step: `{"exported", "of"}`, `{"records", "of"}` of a rebuild, or its `{"rows"}`.
pub(crate) fn show(bar: &ProgressBar, step: &Value) {
    let number = |name: &str| step.get(name).and_then(Value::as_u64);
    match (number("exported"), number("records"), number("of"), number("rows")) {
        (Some(done), _, Some(of), _) => {
            bar.set_message("exporting");
            bar.set_length(of);
            bar.set_position(done);
        }
        (_, Some(done), Some(of), _) => {
            bar.set_message("projecting");
            bar.set_length(of);
            bar.set_position(done);
        }
        (_, _, _, Some(rows)) => {
            bar.set_message("comparing");
            bar.set_position(rows);
        }
        _ => {}
    }
}
