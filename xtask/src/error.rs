//! What is missing on this machine, apart from what went wrong.

/// Something that the user has to provide or to say differently: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Prerequisite(pub String);

/// An [`anyhow::Error`] that ends the program with status 2.
pub fn missing(message: impl Into<String>) -> anyhow::Error {
    Prerequisite(message.into()).into()
}
