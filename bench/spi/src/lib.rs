//! The benchmarks' peer `spi`: functions that hand SQL text to SPI in each call, as extensions
//! written with pgrx commonly do. The statements are those of the PL/pgSQL peer.

#[cfg(feature = "pg")]
mod functions;
