//! The one place that knows which YAML library reads the configuration.
//!
//! Messages carry line and column but no excerpt of the file: an excerpt could hold a password.

use serde::de::DeserializeOwned;

/// Reads one YAML document.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}
