//! What the user asks for, checked before anything is built.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::bench::clients;
use crate::bench::operation::{self, OURS};
use crate::error::missing;

/// The options of `cargo xtask bench`.
#[derive(Debug, Default, Args)]
pub struct Options {
    /// 100,000 rows instead of 1,000,000
    #[arg(long)]
    pub quick: bool,
    /// Only this operation, or part of the run: clients, memory, space, growth; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Only this peer beside ours; may be repeated
    #[arg(long, value_name = "NAME")]
    pub peer: Vec<String>,
    /// Rows of each table
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rows: Option<i64>,
    /// Measured rounds, after one that is not counted
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rounds: Option<i64>,
    /// Count the instructions of the operations with valgrind instead of measuring time (100,000 rows)
    #[arg(long, conflicts_with_all = ["quick", "rounds"])]
    pub instructions: bool,
    /// Write the results as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How large the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Turns.
    pub rows: i32,
    /// Agents and trajectories.
    pub others: i32,
    /// Measured rounds.
    pub rounds: i32,
    /// Rounds of the client runs.
    pub client_rounds: i32,
    /// How long each client run takes; 0: a few transactions for each connection.
    pub client_seconds: i32,
    /// The numbers of connections.
    pub connections: &'static [i32],
    /// The sizes between which growth is measured.
    pub growth: &'static [i32],
}

/// A part of the run that is no operation of [`operation::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Client runs by pgbench.
    Clients,
    /// The memory of a backend.
    Memory,
    /// The space of tables and indexes.
    Space,
    /// The cost of a call as the tables grow.
    Growth,
}

impl Part {
    /// All parts with their names.
    const ALL: [(&'static str, Self); 4] = [
        ("clients", Self::Clients),
        ("memory", Self::Memory),
        ("space", Self::Space),
        ("growth", Self::Growth),
    ];
}

/// Below this many rows a run only shows that everything still works.
const TINY: i32 = 10_000;

impl Options {
    /// The size of the run.
    pub fn size(&self) -> Result<Size> {
        let (rows, rounds) = (if self.quick || self.instructions { 100_000 } else { 1_000_000 }, 5);
        let rows = within("rows", self.rows.unwrap_or(rows), 20_000_000)?;
        let rounds = within("rounds", self.rounds.unwrap_or(rounds), 1000)?;
        let (client_rounds, client_seconds, connections, growth): (_, _, &[i32], &[i32]) =
            if rows < TINY {
                (1, 0, &[2], &[1000, 2000])
            } else if self.quick {
                (2, 1, &[8], &[10_000, 100_000])
            } else {
                (5, 1, &[1, 8, 32, 64], &[10_000, 100_000, 1_000_000, 10_000_000])
            };
        Ok(Size { rows, others: rows, rounds, client_rounds, client_seconds, connections, growth })
    }

    /// What to measure.
    ///
    /// # Errors
    /// A name that nothing has: exit status 2.
    pub fn plan(&self) -> Result<Plan> {
        let operations = operation::ALL.iter().map(|o| o.name);
        let clients = clients::ALL.iter().map(|o| o.name);
        let parts = Part::ALL.iter().map(|(name, _)| *name);
        let names: Vec<_> = operations.chain(clients).chain(parts).collect();
        known("operation or part", &self.only, &names)?;
        let peers: Vec<_> = operation::ALL.iter().flat_map(|o| o.peers).map(|p| p.name).collect();
        let clients = clients::ALL.iter().flat_map(|o| o.peers());
        known("peer", &self.peer, &peers.into_iter().chain(clients).collect::<Vec<_>>())?;
        let named = |name: &str| self.only.iter().any(|o| o == name);
        let has = |part: Part| {
            let everything = self.only.is_empty() && (part != Part::Growth || !self.quick);
            everything || Part::ALL.iter().any(|&(name, p)| p == part && named(name))
        };
        Ok(Plan {
            operations: operation::ALL
                .iter()
                .filter(|o| self.only.is_empty() || named(o.name))
                .collect(),
            clients: clients::ALL.iter().filter(|o| has(Part::Clients) || named(o.name)).collect(),
            parts: Part::ALL.iter().map(|(_, part)| *part).filter(|part| has(*part)).collect(),
            peers: Peers(self.peer.clone()),
        })
    }
}

/// What to measure.
#[derive(Debug)]
pub struct Plan {
    /// The operations of [`operation::ALL`].
    pub operations: Vec<&'static operation::Operation>,
    /// The operations of [`clients::ALL`].
    pub clients: Vec<&'static clients::Operation>,
    /// The other parts.
    pub parts: Vec<Part>,
    /// Who is measured.
    pub peers: Peers,
}

/// The peers that are measured beside ours; all, if none is named.
#[derive(Debug, Default)]
pub struct Peers(Vec<String>);

impl Peers {
    /// These and ours.
    pub fn only(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether this one is measured.
    pub fn include(&self, name: &str) -> bool {
        let is_ours = OURS.contains(&name) || name == clients::OURS;
        self.0.is_empty() || is_ours || self.0.iter().any(|peer| peer == name)
    }
}

/// Refuses a name that nothing has.
fn known(what: &str, given: &[String], names: &[&str]) -> Result<()> {
    let Some(unknown) = given.iter().find(|name| !names.contains(&name.as_str())) else {
        return Ok(());
    };
    let mut names = names.to_vec();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    Err(missing(format!("there is no {what} {unknown}; there are {}", names.join(", "))))
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
        let given = |options: Options| options.size().map(|size| (size.rows, size.rounds));
        assert_eq!(given(size(false, None, None))?, (1_000_000, 5));
        assert_eq!(given(size(true, None, None))?, (100_000, 5));
        assert_eq!(given(size(true, Some(1000), Some(1)))?, (1000, 1));
        for bad in
            [size(true, Some(0), None), size(true, Some(-5), None), size(true, None, Some(0))]
        {
            assert!(bad.size().is_err_and(|e| e.is::<Prerequisite>()), "{bad:?}");
        }
        Ok(())
    }

    #[test]
    fn operations_and_parts_by_name() -> Result<()> {
        let only = |name: &str| Options { only: vec![name.to_owned()], ..Options::default() };
        let names = |plan: &Plan| plan.operations.iter().map(|o| o.name).collect::<Vec<_>>();
        let get = only("get").plan()?;
        assert_eq!((names(&get), get.clients.len(), get.parts.len()), (vec!["get"], 0, 0));
        let clients = only("clients").plan()?;
        assert_eq!((clients.operations.len(), clients.clients.len()), (0, clients::ALL.len()));
        assert!(only("nothing").plan().is_err_and(|e| e.is::<Prerequisite>()));
        let all = Options::default().plan()?;
        assert_eq!(all.operations.len(), operation::ALL.len());
        assert!(all.parts.contains(&Part::Growth));
        let quick = Options { quick: true, ..Options::default() }.plan()?;
        assert!(!quick.parts.contains(&Part::Growth) && quick.parts.contains(&Part::Memory));
        Ok(())
    }

    #[test]
    fn peers_by_name() -> Result<()> {
        let peer = |name: &str| Options { peer: vec![name.to_owned()], ..Options::default() };
        let plan = peer("spi").plan()?;
        assert!(plan.peers.include("spi") && plan.peers.include("api"));
        assert!(!plan.peers.include("plpgsql"));
        let error = peer("nobody").plan().map(drop);
        assert!(error.is_err_and(|e| e.is::<Prerequisite>()));
        Ok(())
    }
}
