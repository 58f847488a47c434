//! One of many clients: random calls in random transactions, some of which end badly.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};

use fastrand::Rng;
use postgres::Row;
use serde_json::json;
use uuid::Uuid;

use super::event::{Event, Fate, Span, Ticks};
use super::world::{Offer, World};
use super::{accepts, leases, queue, turns, versions};
use crate::agents::micros;
use crate::db::{Db, lit, show};

/// What the clients recorded.
#[derive(Default)]
pub struct Logs {
    /// About versioned rows.
    pub versions: Vec<Event<versions::Act>>,
    /// About leases.
    pub leases: Vec<Event<leases::Act>>,
    /// About messages.
    pub queue: Vec<Event<queue::Act>>,
    /// About scopes.
    pub turns: Vec<Event<turns::Act>>,
    /// About offers.
    pub accepts: Vec<Event<accepts::Act>>,
    /// How many transactions ended how: committed, aborted, unknown.
    pub fates: [usize; 3],
    /// What clients were told of their transactions, for the server to confirm.
    pub transactions: Vec<(String, Fate)>,
    /// Calls about leases that were refused: what a reader of a violation wants to know.
    pub refusals: Vec<String>,
}

impl Logs {
    /// All of both.
    pub fn merge(mut self, other: Self) -> Self {
        self.versions.extend(other.versions);
        self.leases.extend(other.leases);
        self.queue.extend(other.queue);
        self.turns.extend(other.turns);
        self.accepts.extend(other.accepts);
        self.transactions.extend(other.transactions);
        self.refusals.extend(other.refusals);
        for (sum, more) in self.fates.iter_mut().zip(other.fates) {
            *sum += more;
        }
        self
    }

    fn record(&mut self, client: usize, span: Span, fate: Fate, act: Act) {
        match act {
            Act::Version(act) => self.versions.push(Event { client, span, fate, act }),
            Act::Lease(act) => self.leases.push(Event { client, span, fate, act }),
            Act::Holds(_) => {}
            Act::Queue(act) => self.queue.push(Event { client, span, fate, act }),
            Act::Turn(act) => self.turns.push(Event { client, span, fate, act }),
            Act::Accept(act) => self.accepts.push(Event { client, span, fate, act }),
        }
    }
}

/// What one call did.
#[derive(Debug, Clone)]
enum Act {
    Version(versions::Act),
    Lease(leases::Act),
    /// The client holds a lease now.
    Holds(Held),
    Queue(queue::Act),
    Turn(turns::Act),
    Accept(accepts::Act),
}

type Did = dyn Fn(&[Row]) -> Vec<Act>;

/// A call that is yet to be made.
struct Call {
    /// Its place in the order in which all transactions make their calls, so that none of theirs
    /// can wait for each other in a circle.
    rank: usize,
    sql: String,
    /// What the rows returned say that it did.
    did: Box<Did>,
    /// What it may have done when no answer comes.
    may: Option<Act>,
    /// The SQLSTATEs that are right.
    allowed: &'static [&'static str],
    /// What the first of them says.
    refusal: Option<Act>,
    /// The fence that is over when the call is refused.
    fence: Option<i64>,
}

impl Call {
    fn new(rank: usize, sql: String, did: impl Fn(&[Row]) -> Vec<Act> + 'static) -> Self {
        let did = Box::new(did);
        Self { rank, sql, did, may: None, allowed: &[], refusal: None, fence: None }
    }
}

enum Failure {
    /// The server refused, with this SQLSTATE.
    Refused(String),
    /// The connection is closed.
    Gone,
}

/// A lease that the client has.
#[derive(Debug, Clone, Copy)]
struct Held {
    resource: usize,
    exclusive: bool,
    lock: Uuid,
    fence: i64,
}

/// A client.
pub struct Client<'w> {
    number: usize,
    world: &'w World,
    ticks: &'w Ticks,
    /// The process ids of all clients' backends.
    pids: &'w [AtomicI32],
    db: Db,
    rng: Rng,
    calls: usize,
    held: Vec<Held>,
    deliveries: Vec<(Uuid, i32)>,
    logs: Logs,
}

/// The transaction's id, once it has written.
const TRANSACTION: &str = "pg_current_xact_id_if_assigned()::text AS transaction";

fn transaction_of(row: &Row) -> Option<String> {
    row.try_get("transaction").ok().flatten()
}

/// The ranks of the calls.
const VERSIONS: usize = 0;
const APPENDS: usize = 100;
const LEASES: usize = 200;
const MESSAGES: usize = 300;
const ACCEPTS: usize = 400;

impl<'w> Client<'w> {
    /// A client with a connection of its own, whose choices follow from the seed.
    pub fn new(
        number: usize,
        world: &'w World,
        ticks: &'w Ticks,
        pids: &'w [AtomicI32],
        seed: u64,
    ) -> Self {
        let mut client = Self {
            number,
            world,
            ticks,
            pids,
            db: world.schema.connect(),
            rng: Rng::with_seed(seed),
            calls: 0,
            held: Vec::new(),
            deliveries: Vec::new(),
            logs: Logs::default(),
        };
        client.announce();
        client
    }

    /// Makes so many transactions; what was recorded.
    pub fn work(mut self, transactions: usize) -> Logs {
        for _ in 0..transactions {
            match self.rng.u32(0..60) {
                0 => self.disturb(),
                _ => self.transaction(),
            }
        }
        self.logs
    }

    /// Receives and acknowledges until no message is left to be done.
    pub fn drain(mut self) -> Logs {
        let left = "SELECT EXISTS (SELECT FROM caliber_message WHERE status <> 'acknowledged')";
        while self.db.one(left) {
            self.db.run(
                "SELECT caliber_message_redrive(message_id) FROM caliber_message_list_dead(1000)",
            );
            for agent in 0..self.world.agents.len() {
                let receive = self.receive(agent, 100, 10_000);
                self.alone(vec![receive], None);
                while let Some((message, receipt)) = self.deliveries.pop() {
                    let call = self.acknowledge(agent, message, receipt);
                    self.alone(vec![call], None);
                }
            }
        }
        self.logs
    }

    fn announce(&mut self) {
        let pid = self.db.pid();
        if let Some(own) = self.pids.get(self.number) {
            own.store(pid, Ordering::Relaxed);
        }
    }

    fn reconnect(&mut self) {
        self.db = self.world.schema.connect();
        self.announce();
        // What it held it still holds, and somebody else may have done the work: it forgets both.
        self.held.clear();
        self.deliveries.clear();
    }

    /// Cancels what another client does, or ends its backend.
    fn disturb(&mut self) {
        let function = self.rng.choice(["pg_cancel_backend", "pg_terminate_backend"]);
        let victim = self.pids[self.rng.usize(0..self.pids.len())].load(Ordering::Relaxed);
        let sql = format!(
            "SELECT {}(pid) FROM pg_stat_activity WHERE pid = {victim}",
            function.unwrap_or("pg_cancel_backend")
        );
        if let Err(Failure::Gone) = self.query(&sql) {
            self.reconnect();
        }
    }

    fn transaction(&mut self) {
        let level = self.rng.choice([
            None,
            Some("READ COMMITTED"),
            Some("READ COMMITTED"),
            Some("REPEATABLE READ"),
            Some("SERIALIZABLE"),
        ]);
        let count = if level.flatten().is_some() { self.rng.usize(1..4) } else { 1 };
        let mut calls: Vec<Call> = (0..count).map(|_| self.call()).collect();
        // An acceptance locks more than its rank can tell.
        if let Some(alone) = calls.iter().position(|call| call.rank == ACCEPTS) {
            calls = vec![calls.swap_remove(alone)];
        }
        calls.sort_by_key(|call| call.rank);
        calls.dedup_by_key(|call| call.rank);
        self.alone(calls, level.flatten());
    }

    /// Makes the calls in a transaction of this level, or one by itself.
    fn alone(&mut self, calls: Vec<Call>, level: Option<&str>) {
        let begin = self.ticks.next();
        let mut acts = Vec::new();
        let mut id = None;
        let mut fate = Fate::Committed;
        let mut gone = false;
        if let Some(level) = level {
            gone = self.begin(level).is_err();
            if gone {
                fate = Fate::Aborted;
            }
        }
        let whole = !gone;
        for call in calls.into_iter().filter(|_| whole) {
            let result = self.query(&call.sql);
            match result {
                Ok(rows) => {
                    id = id.or_else(|| transaction_of(rows.first()?));
                    acts.extend((call.did)(&rows));
                }
                Err(Failure::Refused(code)) => {
                    fate = Fate::Aborted;
                    if call.rank == LEASES {
                        self.logs
                            .refusals
                            .push(format!("client {}, {code}: {}", self.number, call.sql));
                    }
                    self.refused(&call, &code, level, begin);
                    break;
                }
                Err(Failure::Gone) => {
                    gone = true;
                    fate = if level.is_none() { Fate::Unknown } else { Fate::Aborted };
                    acts.extend(call.may);
                    break;
                }
            }
        }
        if level.is_some() && !gone {
            // Now and then it crashes before.
            (fate, gone) =
                if self.rng.u32(0..20) == 0 { (Fate::Aborted, true) } else { self.end(fate) };
        }
        self.logs.fates[fate as usize] += 1;
        self.logs.transactions.extend(id.map(|id| (id, fate)));
        let span = Span { begin, end: self.ticks.next() };
        for act in acts {
            if fate == Fate::Committed {
                self.remember(&act);
            }
            self.logs.record(self.number, span, fate, act);
        }
        if gone {
            self.reconnect();
        }
    }

    fn begin(&mut self, level: &str) -> Result<(), Failure> {
        loop {
            // A cancel that came too late for its statement may meet this one.
            match self.query(&format!("BEGIN ISOLATION LEVEL {level}")) {
                Ok(_) => return Ok(()),
                Err(Failure::Refused(_)) => {}
                Err(Failure::Gone) => return Err(Failure::Gone),
            }
        }
    }

    /// Asks for the end of a transaction block; what became of the block.
    fn end(&mut self, fate: Fate) -> (Fate, bool) {
        let end = if fate == Fate::Aborted { "ROLLBACK" } else { "COMMIT" };
        let mut outcome = self.query(end);
        let mut fate = fate;
        // What was refused before it began has left the block open.
        while let Err(Failure::Refused(code)) = &outcome {
            assert!(["40001", "57014"].contains(&code.as_str()), "{end}: {code}");
            fate = Fate::Aborted;
            outcome = self.query("ROLLBACK");
        }
        let gone = outcome.is_err();
        (if gone && fate == Fate::Committed { Fate::Unknown } else { fate }, gone)
    }

    fn remember(&mut self, act: &Act) {
        match act {
            Act::Holds(new) => {
                self.held.retain(|held| held.resource != new.resource);
                self.held.push(*new);
            }
            Act::Lease(leases::Act::Release { fence, .. } | leases::Act::Over { fence, .. }) => {
                self.held.retain(|held| held.fence != *fence);
            }
            Act::Queue(queue::Act::Receive { message, receipt, .. }) => {
                self.deliveries.push((*message, *receipt));
            }
            _ => {}
        }
    }

    fn refused(&mut self, call: &Call, code: &str, level: Option<&str>, begin: u64) {
        let serialization = level.is_some_and(|level| level != "READ COMMITTED");
        let expected =
            call.allowed.contains(&code) || code == "57014" || (code == "40001" && serialization);
        assert!(expected, "{code} at {level:?}: {}", call.sql);
        let mut acts = Vec::new();
        if call.allowed.first() == Some(&code) {
            acts.extend(call.refusal.clone());
        }
        if let Some(fence) = call.fence
            && level.is_none()
            && call.allowed.contains(&code)
        {
            let clock = format!("SELECT {}", micros("clock_timestamp()"));
            if let Ok(rows) = self.query(&clock) {
                self.held.retain(|held| held.fence != fence);
                acts.push(Act::Lease(leases::Act::Over { fence, at: rows[0].get(0) }));
            }
        }
        let span = Span { begin, end: self.ticks.next() };
        for act in acts {
            self.logs.record(self.number, span, Fate::Aborted, act);
        }
    }

    fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.db.query(sql, &[]).map_err(|error| match error.as_db_error() {
            None => Failure::Gone,
            Some(_) if error.is_closed() => Failure::Gone,
            Some(server) => {
                let code = server.code().code();
                assert!(
                    !["40P01", "XX000", "XX001", "XX002"].contains(&code),
                    "{}",
                    show(&error, sql)
                );
                assert!(!server.message().contains("tuple concurrently"), "{}", show(&error, sql));
                if code == "57P01" { Failure::Gone } else { Failure::Refused(code.to_owned()) }
            }
        })
    }

    /// A value that nobody else has.
    fn unique(&mut self) -> String {
        self.calls += 1;
        format!("{}/{}", self.number, self.calls)
    }

    fn pick(&mut self, range: Range<usize>) -> usize {
        self.rng.usize(range)
    }

    fn call(&mut self) -> Call {
        match self.pick(0..20) {
            0..4 => self.update(),
            4..6 => self.read(),
            6..10 => self.append(),
            10 => self.acquire(),
            11 => self.extend_or_acquire(),
            12 => self.release_or_acquire(),
            13 => self.write_under_fence_or_acquire(),
            14 => self.send(),
            15 | 16 => {
                let (at_most, visibility) = (self.pick(1..4), self.pick(2..60));
                self.receive(self.number, at_most, visibility)
            }
            17 | 18 => self.finish_or_send(),
            _ => self.accept(),
        }
    }

    fn update(&mut self) -> Call {
        let row = self.pick(0..self.world.rows.len());
        let (entity, id) = self.world.rows[row];
        let value = self.unique();
        let json = lit(&json!(value).to_string());
        let mut expected = None;
        let sql = match self.pick(0..3) {
            0 => format!(
                "UPDATE caliber_{entity} SET metadata = {json} WHERE {entity}_id = '{id}' RETURNING version"
            ),
            1 => format!(
                "SELECT version FROM caliber_{entity}_update('{id}', '{{\"metadata\": {}}}')",
                json!(value)
            ),
            _ => {
                // What it read last, as a worker would.
                let sql =
                    format!("SELECT version FROM caliber_{entity} WHERE {entity}_id = '{id}'");
                let version: i64 = self.query(&sql).map_or(1, |rows| rows[0].get(0));
                expected = Some(version);
                format!(
                    "SELECT version FROM caliber_{entity}_update('{id}', '{{\"metadata\": {}}}', expected_version => {version})",
                    json!(value)
                )
            }
        };
        let act = move |version| {
            let value = value.clone();
            Act::Version(versions::Act::Update { row, expected, version, value })
        };
        let may = act(None);
        Call {
            may: Some(may),
            allowed: if expected.is_some() { &["55006"] } else { &[] },
            ..Call::new(VERSIONS + row, sql, move |rows| vec![act(Some(rows[0].get(0)))])
        }
    }

    fn read(&mut self) -> Call {
        let row = self.pick(0..self.world.rows.len());
        let (entity, id) = self.world.rows[row];
        let from = if self.rng.bool() {
            format!("caliber_{entity}_get('{id}')")
        } else {
            format!("caliber_{entity} WHERE {entity}_id = '{id}'")
        };
        let sql = format!("SELECT version, metadata #>> '{{}}' FROM {from}");
        Call::new(VERSIONS + row, sql, move |rows| {
            let (version, value) = (rows[0].get(0), rows[0].get(1));
            vec![Act::Version(versions::Act::Read { row, version, value })]
        })
    }

    fn append(&mut self) -> Call {
        let scope = self.pick(0..self.world.scopes.len());
        let id = self.world.scopes[scope];
        let (sql, contents, tokens) = if self.pick(0..4) == 0 {
            let contents: Vec<_> = (0..self.pick(1..5)).map(|_| self.unique()).collect();
            let messages: Vec<_> = contents
                .iter()
                .map(|content| json!({"role": "user", "content": content}))
                .collect();
            let sql = format!(
                "SELECT caliber_turn_append_many('{id}', {})",
                lit(&json!(messages).to_string())
            );
            // Too much to know what is charged for each.
            (sql, contents, i64::from(u16::MAX))
        } else {
            let (content, tokens) = (self.unique(), self.pick(0..9));
            let sql =
                format!("SELECT caliber_turn_create('{id}', 'user', {}, {tokens})", lit(&content));
            (sql, vec![content], tokens as i64)
        };
        let act = Act::Turn(turns::Act::Append { scope, contents });
        Call {
            may: Some(act.clone()),
            allowed: &["54000"],
            refusal: Some(Act::Turn(turns::Act::Refused { scope, tokens })),
            ..Call::new(APPENDS + scope, sql, move |_| vec![act.clone()])
        }
    }

    fn acquire(&mut self) -> Call {
        let resource = self.pick(0..self.world.resources.len());
        let (id, agent) = (self.world.resources[resource], self.world.agents[self.number]);
        let exclusive = self.pick(0..4) > 0;
        let mode = if exclusive { "exclusive" } else { "shared" };
        let ttl = self.rng.choice([3, 15, 40, 60_000]).unwrap_or(15);
        let wait = self.rng.choice([0, 0, 4, 20]).unwrap_or(0);
        let sql = format!(
            "SELECT lock_id, fence, {}, {}, {TRANSACTION}
             FROM caliber_lock_acquire('{agent}', 'scope', '{id}', '{ttl} milliseconds', '{mode}', '{wait} milliseconds')
             WHERE lock_id IS NOT NULL",
            micros("acquired_at"),
            micros("expires_at")
        );
        Call {
            may: Some(Act::Lease(leases::Act::MayAcquire { resource })),
            ..Call::new(LEASES, sql, move |rows| {
                let Some(row) = rows.first() else { return Vec::new() };
                let (lock, fence, from, until) = (row.get(0), row.get(1), row.get(2), row.get(3));
                let act = leases::Act::Acquire { resource, exclusive, fence, from, until };
                vec![Act::Lease(act), Act::Holds(Held { resource, exclusive, lock, fence })]
            })
        }
    }

    fn extend_or_acquire(&mut self) -> Call {
        let Some(Held { lock, fence, .. }) = self.rng.choice(self.held.iter().copied()) else {
            return self.acquire();
        };
        let ttl = self.pick(3..60);
        let sql = format!(
            "SELECT {}, {TRANSACTION} FROM caliber_lock_extend('{lock}', {fence}, '{ttl} milliseconds')",
            micros("expires_at")
        );
        let act = move |until| Act::Lease(leases::Act::Extend { fence, until });
        Call {
            may: Some(act(None)),
            allowed: &["55006", "P0002"],
            fence: Some(fence),
            ..Call::new(LEASES, sql, move |rows| vec![act(Some(rows[0].get(0)))])
        }
    }

    fn release_or_acquire(&mut self) -> Call {
        let Some(Held { lock, fence, .. }) = self.rng.choice(self.held.iter().copied()) else {
            return self.acquire();
        };
        let clock = micros("clock_timestamp()");
        let sql = format!(
            "SELECT {clock}, caliber_lock_release('{lock}', {fence}), {clock}, {TRANSACTION}"
        );
        Call {
            may: Some(Act::Lease(leases::Act::Release { fence, at: None })),
            allowed: &["55006"],
            fence: Some(fence),
            ..Call::new(LEASES, sql, move |rows| {
                let row = &rows[0];
                vec![Act::Lease(if row.get(1) {
                    leases::Act::Release { fence, at: Some(row.get(0)) }
                } else {
                    leases::Act::Over { fence, at: row.get(2) }
                })]
            })
        }
    }

    /// The content says the fence; what was accepted is found in the table.
    fn write_under_fence_or_acquire(&mut self) -> Call {
        let Some(Held { resource, exclusive, fence, .. }) =
            self.rng.choice(self.held.iter().copied())
        else {
            return self.acquire();
        };
        let id = self.world.resources[resource];
        let sql =
            format!("SELECT caliber_turn_create('{id}', 'user', '{fence}', 1, fence => {fence})");
        Call {
            allowed: &["55006"],
            // Who shares a lease is refused once a later one of them has written.
            fence: exclusive.then_some(fence),
            ..Call::new(LEASES + 1 + resource, sql, |_| Vec::new())
        }
    }

    fn send(&mut self) -> Call {
        let message: Uuid = Uuid::now_v7();
        let from = self.world.agents[self.number];
        let to = if self.pick(0..4) == 0 {
            let to = self.pick(0..self.world.agents.len());
            format!("to_agent_id => '{}'", self.world.agents[to])
        } else {
            "to_agent_type => 'worker'".to_owned()
        };
        let priority = self.rng.choice(["low", "normal", "high", "critical"]).unwrap_or("low");
        let (deliveries, delay) = (self.pick(1..6), self.pick(0..3));
        let sql = format!(
            "SELECT caliber_message_send('{from}', 'job', '1', {to}, priority => '{priority}',
             delay => '{delay} milliseconds', max_deliveries => {deliveries}, message_id => '{message}')"
        );
        let act = Act::Queue(queue::Act::Send { message });
        Call { may: Some(act.clone()), ..Call::new(MESSAGES, sql, move |_| vec![act.clone()]) }
    }

    fn receive(&self, agent: usize, at_most: usize, visibility: usize) -> Call {
        let sql = format!(
            "SELECT message_id, delivery_count, {}, {}
             FROM caliber_message_receive('{}', {at_most}, '{visibility} milliseconds')",
            micros("delivered_at"),
            micros("visible_at"),
            self.world.agents[agent]
        );
        Call {
            may: Some(Act::Queue(queue::Act::MayReceive { at_most })),
            ..Call::new(MESSAGES + 1, sql, |rows| {
                let received = rows.iter().map(|row| queue::Act::Receive {
                    message: row.get(0),
                    receipt: row.get(1),
                    from: row.get(2),
                    until: row.get(3),
                });
                received.map(Act::Queue).collect()
            })
        }
    }

    fn acknowledge(&self, agent: usize, message: Uuid, receipt: i32) -> Call {
        let agent = self.world.agents[agent];
        let sql = format!("SELECT caliber_message_acknowledge('{message}', '{agent}', {receipt})");
        let act = Act::Queue(queue::Act::Acknowledge { message, receipt });
        Call {
            may: Some(act.clone()),
            allowed: &["55006"],
            ..Call::new(MESSAGES + 2, sql, move |_| vec![act.clone()])
        }
    }

    fn finish_or_send(&mut self) -> Call {
        if self.pick(0..16) == 0 {
            let sql =
                "SELECT caliber_message_redrive(message_id, 2) FROM caliber_message_list_dead(2)";
            return Call {
                allowed: &["55000"],
                ..Call::new(MESSAGES + 3, sql.to_owned(), |_| Vec::new())
            };
        }
        if self.deliveries.is_empty() {
            return self.send();
        }
        let number = self.pick(0..self.deliveries.len());
        let (message, receipt) = self.deliveries.swap_remove(number);
        if self.pick(0..3) > 0 {
            return self.acknowledge(self.number, message, receipt);
        }
        let (agent, delay) = (self.world.agents[self.number], self.pick(0..5));
        let sql = format!(
            "SELECT {} FROM caliber_message_release('{message}', '{agent}', {receipt}, '{delay} milliseconds')",
            micros("visible_at")
        );
        let act = move |visible| Act::Queue(queue::Act::GiveBack { message, receipt, visible });
        Call {
            may: Some(act(None)),
            allowed: &["55006"],
            ..Call::new(MESSAGES + 2, sql, move |rows| vec![act(Some(rows[0].get(0)))])
        }
    }

    fn accept(&mut self) -> Call {
        let offer = self.pick(0..self.world.offers.len());
        let Offer { kind, id } = self.world.offers[offer];
        let agent = self.world.agents[self.number];
        let sql = format!("SELECT caliber_{kind}_accept('{id}', '{agent}')");
        let act = Act::Accept(accepts::Act::Accept { offer });
        Call {
            may: Some(act.clone()),
            allowed: &["55000"],
            refusal: Some(Act::Accept(accepts::Act::Refused { offer })),
            ..Call::new(ACCEPTS, sql, move |_| vec![act.clone()])
        }
    }
}
