//! The memory of a backend that makes many calls: what it has after many, beside what it had after
//! few.

use std::fs;

use anyhow::{Context, Result};
use postgres::Client;

use crate::bench::server::DB;
use crate::postgres::cluster::Cluster;

/// The calls after which a backend has everything that it keeps.
const FEW: i64 = 10_000;

/// What a backend does: the rows' ids, and one call for an `{id}`.
struct Work {
    name: &'static str,
    ids: &'static str,
    call: &'static str,
}

const WORKS: &[Work] = &[
    Work {
        name: "get",
        ids: "SELECT turn_id AS id FROM caliber.caliber_turn",
        call: "caliber_turn_get({id})",
    },
    Work {
        name: "heartbeat",
        ids: "SELECT agent_id AS id FROM caliber.caliber_agent",
        call: "caliber_agent_heartbeat({id})",
    },
    Work {
        name: "update",
        ids: "SELECT trajectory_id AS id FROM caliber.caliber_trajectory",
        call: "caliber_trajectory_update({id}, '{\"description\": \"new\"}')",
    },
    Work {
        name: "append",
        ids: "SELECT scope_id AS id FROM caliber.caliber_scope",
        call: "caliber_turn_create({id}, 'user', 'a message', 3)",
    },
];

/// What was measured, in kilobytes of memory that the backend has for itself.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What the backend did.
    pub work: &'static str,
    /// In one statement, or in one transaction of a statement for each call.
    pub how: &'static str,
    /// How many calls, and what it had after them; the few first.
    pub few: (i64, i64),
    /// See `few`.
    pub many: (i64, i64),
}

/// Measures each kind of call in one statement and in one transaction.
pub fn measure(cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for work in WORKS {
        for how in ["one statement", "one transaction"] {
            figures.push(one(cluster, work, how).with_context(|| work.name)?);
        }
    }
    Ok(figures)
}

fn one(cluster: &Cluster, work: &Work, how: &'static str) -> Result<Figure> {
    let mut client = cluster.connect(DB)?;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.try_get(0)?;
    let ids =
        format!("CREATE TEMP TABLE ids AS SELECT row_number() OVER () n, id FROM ({}) x", work.ids);
    client.batch_execute(&ids)?;
    let all: i64 = client.query_one("SELECT count(*) FROM ids", &[])?.try_get(0)?;
    let few = FEW.min(all / 2);
    client.batch_execute("BEGIN")?;
    let mut run = |from: i64, to: i64| -> Result<i64> {
        calls(&mut client, work, how, from, to)?;
        private_kilobytes(pid)
    };
    let first = run(0, few)?;
    let second = run(few, all)?;
    client.batch_execute("ROLLBACK")?;
    Ok(Figure { work: work.name, how, few: (few, first), many: (all, second) })
}

/// Makes the calls for the ids after `from`, up to `to`.
fn calls(client: &mut Client, work: &Work, how: &str, from: i64, to: i64) -> Result<()> {
    let ids = format!("SELECT id FROM ids WHERE n > {from} AND n <= {to}");
    let sql = match how {
        "one statement" => {
            format!("SELECT count({}) FROM ({ids}) x", work.call.replace("{id}", "id"))
        }
        _ => format!(
            "DO $$ DECLARE one uuid; BEGIN FOR one IN {ids} LOOP PERFORM {}; END LOOP; END $$",
            work.call.replace("{id}", "one")
        ),
    };
    Ok(client.batch_execute(&sql)?)
}

/// What the process has in memory that is not shared with others (`RssAnon`).
fn private_kilobytes(pid: i32) -> Result<i64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    rss_anon(&status).with_context(|| format!("{path} tells no RssAnon"))
}

fn rss_anon(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_read_from_proc() {
        assert_eq!(rss_anon("VmRSS:\t  9 kB\nRssAnon:\t    3456 kB\n"), Some(3456));
        assert_eq!(rss_anon("VmRSS:\t  9 kB\n"), None);
    }
}
