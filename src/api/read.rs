//! Reading an answer.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not from an analyzer.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A field is missing, or its value has another type.
    #[error("the answer has not the form that this program, version {}, expects: {place}", env!("CARGO_PKG_VERSION"))]
    Form {
        /// The field, such as `incidents[0].severity`, or `answer` for the whole.
        place: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads an answer; fields that only a newer analyzer knows are ignored.
///
/// # Errors
/// [`ReadError`], which names the field.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ReadError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let answer = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let place = match error.path().to_string() {
            path if path == "." => "answer".to_owned(),
            path => path,
        };
        match error.into_inner() {
            source if source.classify() == Category::Data => ReadError::Form { place, source },
            source => ReadError::NotJson(source),
        }
    })?;
    deserializer.end().map_err(ReadError::NotJson)?;
    Ok(answer)
}
