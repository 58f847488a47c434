//! What the user asks for, checked before anything is built.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::bench::operation;
use crate::error::missing;

/// The options of `cargo xtask bench`.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// 100,000 rows instead of 1,000,000
    #[arg(long)]
    pub quick: bool,
    /// Only this operation; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Rows of each table
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rows: Option<i64>,
    /// Measured rounds, after one that is not counted
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rounds: Option<i64>,
    /// Write the results as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How large the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of each table.
    pub rows: i32,
    /// Measured rounds.
    pub rounds: i32,
}

impl Options {
    /// The size of the run.
    pub fn size(&self) -> Result<Size> {
        let (rows, rounds) = (if self.quick { 100_000 } else { 1_000_000 }, 5);
        let rows = within("rows", self.rows.unwrap_or(rows), 20_000_000)?;
        let rounds = within("rounds", self.rounds.unwrap_or(rounds), 1000)?;
        Ok(Size { rows, rounds })
    }

    /// The operations to measure.
    pub fn operations(&self) -> Result<Vec<&'static operation::Operation>> {
        let known = |name: &str| operation::ALL.iter().any(|o| o.name == name);
        if let Some(unknown) = self.only.iter().find(|name| !known(name)) {
            let names: Vec<_> = operation::ALL.iter().map(|o| o.name).collect();
            return Err(missing(format!(
                "there is no operation {unknown}; there are {}",
                names.join(", ")
            )));
        }
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|o| o == name);
        Ok(operation::ALL.iter().filter(|o| wanted(o.name)).collect())
    }
}

fn within(what: &str, given: i64, most: i32) -> Result<i32> {
    match i32::try_from(given) {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(missing(format!("--{what} must be from 1 to {most}, not {given}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Prerequisite;

    #[test]
    fn sizes() -> Result<()> {
        let size = |quick, rows, rounds| Options { quick, rows, rounds, ..Options::default() };
        let (full, quick) = (size(false, None, None), size(true, None, None));
        assert_eq!(full.size()?, Size { rows: 1_000_000, rounds: 5 });
        assert_eq!(quick.size()?, Size { rows: 100_000, rounds: 5 });
        assert_eq!(size(true, Some(1000), Some(1)).size()?, Size { rows: 1000, rounds: 1 });
        for bad in
            [size(true, Some(0), None), size(true, Some(-5), None), size(true, None, Some(0))]
        {
            assert!(bad.size().is_err_and(|e| e.is::<Prerequisite>()), "{bad:?}");
        }
        Ok(())
    }

    #[test]
    fn operations_by_name() -> Result<()> {
        let only = |name: &str| Options { only: vec![name.to_owned()], ..Options::default() };
        let names: Vec<_> = only("get").operations()?.iter().map(|o| o.name).collect();
        assert_eq!(names, ["get"]);
        assert!(only("nothing").operations().is_err_and(|e| e.is::<Prerequisite>()));
        assert_eq!(Options::default().operations()?.len(), operation::ALL.len());
        Ok(())
    }
}
