//! A load that does not know when the server will be killed, and keeps a ledger of what it was
//! told.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use postgres::error::SqlState;
use serde_json::json;
use uuid::Uuid;

use super::ledger::{Key, Ledger, States, Writes, never_attempted};
use crate::cluster::PATIENCE;
use crate::db::{Db, lit, show};

/// The database of the load.
pub const DB: &str = "load";

/// A table whose rows the ledgers know: its name, a row's key and its state.
struct Kept(&'static str, &'static str, &'static str);

const TURN: usize = 0;
const MESSAGE: usize = 1;
const NOTE: usize = 2;
const ARTIFACT: usize = 3;
const LOCK: usize = 4;
const AGENT: usize = 5;
const TRAJECTORY: usize = 6;
const SCOPE: usize = 7;
const PLAIN: usize = 8;

const KEPT: [Kept; 9] = [
    Kept("caliber_turn", "content", "role::text"),
    Kept("caliber_message", "message_id::text", "status::text"),
    Kept("caliber_note", "note_id::text", "version || ' ' || title"),
    Kept("caliber_artifact", "artifact_id::text", "version || ' ' || content"),
    Kept("caliber_lock", "resource_id::text", "mode::text"),
    Kept("caliber_agent", "agent_id::text", "version || ' ' || coalesce(metadata::text, '')"),
    Kept("caliber_trajectory", "trajectory_id::text", "version || ' ' || name"),
    Kept("caliber_scope", "scope_id::text", "version || ' ' || name"),
    // The value is one text again and again, also when it is stored out of line.
    Kept(
        "plain",
        "key",
        "number || ' ' || left(value, 20) || length(value)
            || (value = repeat(left(value, 20), length(value) / 20))",
    ),
];

/// Makes the database and its tables.
pub fn set_up(db: &mut Db, connect: impl Fn() -> Db) {
    db.run(&format!("CREATE DATABASE {DB}"));
    db.run(&format!("ALTER DATABASE {DB} SET search_path = caliber, public"));
    let mut db = connect();
    db.run(
        "CREATE EXTENSION \"caliber-pg\" CASCADE;
         SELECT caliber_init(embedding_dim => 8);
         CREATE TABLE plain (key text PRIMARY KEY, value text, number int, tags int[]) USING caliber_am;
         ALTER TABLE plain ALTER value SET STORAGE EXTERNAL;
         CREATE INDEX plain_number ON plain (number, key);
         CREATE INDEX plain_hash ON plain USING hash (number);
         CREATE INDEX plain_tags ON plain USING gin (tags)",
    );
}

/// The connection is closed: the server is down, or its backend.
#[derive(Debug)]
struct Closed;

type Done = Result<(), Closed>;

/// What all clients of a load share.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    acknowledged: u64,
    /// How many have not ended.
    working: usize,
    doing: Vec<&'static str>,
}

impl Progress {
    fn new(clients: usize) -> Self {
        let state = State { acknowledged: 0, working: clients, doing: vec!["nothing"; clients] };
        Self { state: Mutex::new(state), changed: Condvar::new(), stop: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while they have it")
    }

    fn at(&self, client: usize, what: &'static str) {
        self.state().doing[client] = what;
    }

    fn acknowledge(&self) {
        self.state().acknowledged += 1;
        self.changed.notify_all();
    }

    /// Waits until so many more commits are acknowledged, or nobody is left who works; false when
    /// none was for as long as a server may take. A slow load is no finding.
    #[must_use]
    pub fn wait_for(&self, more: u64) -> bool {
        let mut state = self.state();
        let enough = state.acknowledged + more;
        while state.acknowledged < enough && state.working > 0 {
            let before = state.acknowledged;
            let waits = |state: &mut State| state.acknowledged == before && state.working > 0;
            let waited = self.changed.wait_timeout_while(state, PATIENCE, waits);
            let (now, time) = waited.expect("nobody panics while they have it");
            if time.timed_out() {
                return false;
            }
            state = now;
        }
        true
    }

    /// Whether a client ends, within a second.
    pub fn somebody_ends(&self) -> bool {
        let state = self.state();
        let all = state.doing.len();
        let patience = Duration::from_secs(1);
        let waits = |state: &mut State| state.working == all;
        self.changed.wait_timeout_while(state, patience, waits).is_ok_and(|(_, t)| !t.timed_out())
    }

    /// What the clients are at.
    pub fn doing(&self) -> Vec<&'static str> {
        self.state().doing.clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One who works; dropped when it ends, in whatever way.
struct Working<'p>(&'p Progress);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.state().working -= 1;
        self.0.changed.notify_all();
    }
}

/// Lets the clients end when the one who was to see to that has failed.
struct StopAtEnd<'p>(&'p Progress);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Clients with their ledgers.
pub struct Load {
    clients: Vec<Client>,
    shared_scope: Uuid,
    maintenance: Rng,
    round: usize,
}

impl Load {
    /// So many clients, each with an agent, a trajectory and a scope of its own.
    pub fn new(db: &mut Db, clients: usize, rng: &mut Rng) -> Self {
        let home: Uuid = db.one("SELECT caliber_trajectory_create('home')");
        let shared_scope =
            db.one(&format!("SELECT caliber_scope_create('{home}', 'shared', 2000000000)"));
        let mut clients: Vec<_> =
            (0..clients).map(|number| Client::new(db, number, rng.fork())).collect();
        // The first keeps what all share.
        let shared =
            vec![write(TRAJECTORY, home, "1 home"), write(SCOPE, shared_scope, "1 shared")];
        clients[0].ledger.attempt(shared);
        clients[0].ledger.acknowledged();
        Self { clients, shared_scope, maintenance: rng.fork(), round: 0 }
    }

    /// Lets the clients work until their connections end, while `meanwhile` sees to that.
    ///
    /// # Panics
    /// When the server does what it must not.
    pub fn run<R>(
        &mut self,
        connect: impl Fn() -> Db,
        meanwhile: impl FnOnce(&Progress) -> R,
    ) -> R {
        let count = self.clients.len();
        let progress = Progress::new(count + 1);
        let (shared_scope, round) = (self.shared_scope, self.round);
        self.round += 1;
        thread::scope(|scope| {
            let progress = &progress;
            for client in &mut self.clients {
                let mut db = connect();
                scope.spawn(move || {
                    let _working = Working(progress);
                    let mut session = Session { client, db: &mut db, progress, shared_scope };
                    while !progress.stopped() && session.step().is_ok() {}
                });
            }
            let (mut db, rng) = (connect(), &mut self.maintenance);
            scope.spawn(move || {
                let _working = Working(progress);
                maintain(&mut db, rng, round, progress, count);
            });
            let _stop = StopAtEnd(progress);
            meanwhile(progress)
        })
    }

    /// What is not as the ledgers say; afterwards they say what is there.
    pub fn settle(&mut self, db: &mut Db) -> Vec<String> {
        let mut there = States::new();
        for (table, Kept(name, key, state)) in KEPT.iter().enumerate() {
            let sql = format!("SELECT {key}, {state} FROM {name}");
            let rows = db.query(&sql, &[]).unwrap_or_else(|error| panic!("{}", show(&error, &sql)));
            there.extend(rows.iter().map(|row| ((table, row.get(0)), row.get(1))));
        }
        let mut found: Vec<String> =
            self.clients.iter_mut().flat_map(|client| client.ledger.settle(&mut there)).collect();
        found.extend(never_attempted(&there));
        found.extend(self.lower_fence(db));
        found
    }

    /// A new fence is higher than all that were acknowledged.
    fn lower_fence(&self, db: &mut Db) -> Option<String> {
        let highest = self.clients.iter().map(|client| client.highest_fence).max();
        let next: i64 = db.one("SELECT nextval('caliber_fence')");
        highest
            .filter(|highest| next <= *highest)
            .map(|highest| format!("the next fence is {next}, after {highest} was acknowledged"))
    }
}

/// A client, which survives the server.
struct Client {
    number: usize,
    serial: usize,
    rng: Rng,
    agent: Uuid,
    trajectory: Uuid,
    scope: Uuid,
    /// Resource, lock and fence of the leases that it has.
    leases: Vec<(Uuid, Uuid, i64)>,
    highest_fence: i64,
    /// Trees that are to be deleted: a trajectory, its scope and the contents of its turns.
    trees: Vec<(Uuid, Uuid, Vec<String>)>,
    ledger: Ledger,
}

fn write(table: usize, key: impl ToString, state: &str) -> (Key, Option<String>) {
    ((table, key.to_string()), Some(state.to_owned()))
}

fn delete(table: usize, key: impl ToString) -> (Key, Option<String>) {
    ((table, key.to_string()), None)
}

impl Client {
    fn new(db: &mut Db, number: usize, rng: Rng) -> Self {
        let [agent, trajectory, scope] = [(); 3].map(|()| Uuid::now_v7());
        db.run(&format!(
            "SELECT caliber_agent_register('a{number}', agent_id => '{agent}');
             SELECT caliber_trajectory_create('own', trajectory_id => '{trajectory}');
             SELECT caliber_scope_create('{trajectory}', 'own', 2000000000, scope_id => '{scope}')"
        ));
        let mut ledger = Ledger::default();
        ledger.attempt(vec![
            write(AGENT, agent, "1 "),
            write(TRAJECTORY, trajectory, "1 own"),
            write(SCOPE, scope, "1 own"),
        ]);
        ledger.acknowledged();
        let (leases, trees) = (Vec::new(), Vec::new());
        Self {
            number,
            serial: 0,
            rng,
            agent,
            trajectory,
            scope,
            leases,
            highest_fence: 0,
            trees,
            ledger,
        }
    }

    /// A text of 20 characters that nobody else has.
    fn tag(&mut self) -> String {
        self.serial += 1;
        format!("{:03}-{:016}", self.number, self.serial)
    }

    /// Some keys of a table.
    fn some(&mut self, table: usize, count: usize) -> Vec<String> {
        let keys = self.ledger.keys(table).map(str::to_owned);
        self.rng.choose_multiple(keys, count)
    }

    /// The next version of a row with the state `VERSION REST`.
    fn next_version(&self, table: usize, key: &str) -> i64 {
        let state = self.ledger.get(table, key).and_then(|state| state.split(' ').next());
        state.and_then(|version| version.parse::<i64>().ok()).map_or(1, |version| version + 1)
    }
}

/// A client at work on a server.
struct Session<'l> {
    client: &'l mut Client,
    db: &'l mut Db,
    progress: &'l Progress,
    shared_scope: Uuid,
}

/// Fails unless the failure is one of a connection that ends because the server does.
#[track_caller]
fn only_closed(error: &postgres::Error, sql: &str) -> Closed {
    let closed = match error.as_db_error() {
        None => true,
        // Said by a server, or to a backend, that is about to end.
        Some(server) => {
            ["57P01", "57P02", "57P03"].contains(&server.code().code())
                || server.message() == "lost connection to parallel worker"
        }
    };
    assert!(closed, "{}", show(error, sql));
    Closed
}

/// One thing that a client does.
type Step<'s> = fn(&mut Session<'s>) -> Done;

impl<'s> Session<'s> {
    fn step(&mut self) -> Done {
        let steps: [(&'static str, Step<'s>); 17] = [
            ("append", Self::append),
            ("append", Self::append),
            ("append_many", Self::append_many),
            ("send", Self::send),
            ("receive and acknowledge", Self::receive),
            ("note", Self::note),
            ("artifact", Self::artifact),
            ("lease", Self::lease),
            ("agent", Self::agent),
            ("tree", Self::tree),
            ("deletion of a tree", Self::delete_tree),
            ("INSERT", Self::insert),
            ("UPDATE", Self::update),
            ("DELETE", Self::delete),
            ("COPY", Self::copy),
            ("COPY of notes", Self::copy_notes),
            ("savepoints", Self::savepoints),
        ];
        let (name, step) = steps[self.client.rng.usize(0..steps.len())];
        self.progress.at(self.client.number, name);
        step(self)
    }

    fn run(&mut self, sql: &str) -> Done {
        self.db.attempt(sql).map_err(|error| only_closed(&error, sql))
    }

    /// Runs statements that end with a commit, and leave this.
    fn commit(&mut self, sql: &str, writes: Writes) -> Done {
        self.client.ledger.attempt(writes);
        self.run(sql)?;
        self.acknowledged();
        Ok(())
    }

    fn acknowledged(&mut self) {
        self.client.ledger.acknowledged();
        self.progress.acknowledge();
    }

    fn any_scope(&mut self) -> Uuid {
        if self.client.rng.bool() { self.client.scope } else { self.shared_scope }
    }

    fn append(&mut self) -> Done {
        let (scope, content) = (self.any_scope(), self.client.tag());
        let tokens = self.client.rng.u32(0..50);
        let sql = format!("SELECT caliber_turn_create('{scope}', 'user', '{content}', {tokens})");
        self.commit(&sql, vec![write(TURN, content, "user")])
    }

    fn append_many(&mut self) -> Done {
        let scope = self.any_scope();
        let count = self.client.rng.usize(2..8);
        let contents: Vec<_> = (0..count).map(|_| self.client.tag()).collect();
        let messages: Vec<_> =
            contents.iter().map(|c| json!({"role": "assistant", "content": c})).collect();
        let messages = lit(&json!(messages).to_string());
        let sql = format!("SELECT caliber_turn_append_many('{scope}', {messages})");
        self.commit(&sql, contents.iter().map(|c| write(TURN, c, "assistant")).collect())
    }

    fn send(&mut self) -> Done {
        let (agent, id) = (self.client.agent, Uuid::now_v7());
        let sql = format!(
            "SELECT caliber_message_send('{agent}', 'job', '1', '{agent}', message_id => '{id}')"
        );
        self.commit(&sql, vec![write(MESSAGE, id, "pending")])
    }

    /// Both in one transaction, so that what is received is known before it is committed.
    fn receive(&mut self) -> Done {
        let agent = self.client.agent;
        self.run("BEGIN")?;
        let sql = format!(
            "SELECT message_id, delivery_count FROM caliber_message_receive('{agent}', 3, '1 second')"
        );
        let rows = self.db.query(&sql, &[]).map_err(|error| only_closed(&error, &sql))?;
        let (mut sql, mut writes) = (String::new(), Vec::new());
        for row in rows {
            let (id, receipt): (Uuid, i32) = (row.get(0), row.get(1));
            let acknowledge = format!("caliber_message_acknowledge('{id}', '{agent}', {receipt})");
            sql.push_str(&format!("SELECT {acknowledge}; "));
            writes.push(write(MESSAGE, id, "acknowledged"));
        }
        self.commit(&format!("{sql} COMMIT"), writes)
    }

    fn note(&mut self) -> Done {
        let title = self.client.tag();
        let content = title.repeat(self.client.rng.usize(1..300));
        if let [id] = self.client.some(NOTE, 1).as_slice()
            && self.client.rng.bool()
        {
            let version = self.client.next_version(NOTE, id);
            let changes = json!({"title": title, "content": content});
            let sql = format!(
                "SELECT caliber_note_update('{id}', '{changes}', expected_version => {})",
                version - 1
            );
            return self.commit(&sql, vec![write(NOTE, id, &format!("{version} {title}"))]);
        }
        let (id, embedding) = (Uuid::now_v7(), self.embedding());
        let sql = format!(
            "SELECT caliber_note_create('fact', '{title}', '{content}', embedding => '{embedding}',
             note_id => '{id}')"
        );
        self.commit(&sql, vec![write(NOTE, id, &format!("1 {title}"))])
    }

    fn embedding(&mut self) -> String {
        let numbers: Vec<_> = (0..8).map(|_| self.client.rng.i32(1..100).to_string()).collect();
        format!("[{}]", numbers.join(","))
    }

    fn artifact(&mut self) -> Done {
        let content = self.client.tag();
        if let [id] = self.client.some(ARTIFACT, 1).as_slice()
            && self.client.rng.bool()
        {
            let version = self.client.next_version(ARTIFACT, id);
            let sql = format!(
                "SELECT caliber_artifact_update('{id}', '{}')",
                json!({"content": content})
            );
            return self.commit(&sql, vec![write(ARTIFACT, id, &format!("{version} {content}"))]);
        }
        let (trajectory, scope) = (self.client.trajectory, self.client.scope);
        let (id, embedding) = (Uuid::now_v7(), self.embedding());
        let sql = format!(
            "SELECT caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', '{content}',
             '{embedding}', artifact_id => '{id}')"
        );
        self.commit(&sql, vec![write(ARTIFACT, id, &format!("1 {content}"))])
    }

    fn lease(&mut self) -> Done {
        if self.client.leases.len() > 5 {
            let (resource, lock, fence) = self.client.leases.swap_remove(0);
            let sql = format!("SELECT caliber_lock_release('{lock}', {fence})");
            return self.commit(&sql, vec![delete(LOCK, resource)]);
        }
        let (agent, resource) = (self.client.agent, Uuid::now_v7());
        let sql = format!(
            "SELECT lock_id, fence FROM caliber_lock_acquire('{agent}', 'file', '{resource}', '1 day')"
        );
        self.client.ledger.attempt(vec![write(LOCK, resource, "exclusive")]);
        let row = self.db.query_one(&sql, &[]).map_err(|error| only_closed(&error, &sql))?;
        let (lock, fence) = (row.get(0), row.get(1));
        self.acknowledged();
        self.client.leases.push((resource, lock, fence));
        self.client.highest_fence = self.client.highest_fence.max(fence);
        Ok(())
    }

    fn agent(&mut self) -> Done {
        let (agent, tag) = (self.client.agent, self.client.tag());
        let version = self.client.next_version(AGENT, &agent.to_string());
        let sql = format!(
            "BEGIN; SELECT caliber_agent_heartbeat('{agent}');
             SELECT caliber_agent_update('{agent}', '{{\"metadata\": \"{tag}\"}}'); COMMIT"
        );
        self.commit(&sql, vec![write(AGENT, agent, &format!("{version} \"{tag}\""))])
    }

    fn tree(&mut self) -> Done {
        let [trajectory, scope] = [(); 2].map(|()| Uuid::now_v7());
        let contents: Vec<_> = (0..3).map(|_| self.client.tag()).collect();
        let mut sql = format!(
            "BEGIN; SELECT caliber_trajectory_create('tree', trajectory_id => '{trajectory}');
             SELECT caliber_scope_create('{trajectory}', 'tree', 1000, scope_id => '{scope}');"
        );
        let mut writes =
            vec![write(TRAJECTORY, trajectory, "1 tree"), write(SCOPE, scope, "1 tree")];
        for content in &contents {
            let create = format!("caliber_turn_create('{scope}', 'user', '{content}', 1)");
            sql.push_str(&format!("SELECT {create};"));
            writes.push(write(TURN, content, "user"));
        }
        self.commit(&format!("{sql} COMMIT"), writes)?;
        self.client.trees.push((trajectory, scope, contents));
        Ok(())
    }

    fn delete_tree(&mut self) -> Done {
        let Some((trajectory, scope, contents)) = self.client.trees.pop() else {
            return self.tree();
        };
        let mut writes = vec![delete(TRAJECTORY, trajectory), delete(SCOPE, scope)];
        writes.extend(contents.iter().map(|content| delete(TURN, content)));
        self.commit(&format!("SELECT caliber_trajectory_delete('{trajectory}')"), writes)
    }

    /// A new row of the plain table: its values in SQL and what it leaves.
    fn plain(&mut self) -> (String, String, i32, (Key, Option<String>)) {
        let (key, number) = (self.client.tag(), self.client.rng.i32(0..40));
        // Now and then too much for a page.
        let times =
            if self.client.rng.u32(0..10) == 0 { 600 } else { self.client.rng.usize(1..20) };
        let value = key.repeat(times);
        let state = plain_state(number, &value);
        (key.clone(), value, number, write(PLAIN, key, &state))
    }

    fn insert(&mut self) -> Done {
        let (mut rows, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..self.client.rng.usize(1..20) {
            let (key, value, number, row) = self.plain();
            rows.push(format!("('{key}', '{value}', {number}, '{{{number}}}')"));
            writes.push(row);
        }
        let sql = format!(
            "INSERT INTO plain VALUES {} ON CONFLICT (key) DO UPDATE SET value = 'never'",
            rows.join(", ")
        );
        self.commit(&sql, writes)
    }

    fn update(&mut self) -> Done {
        let keys = self.client.some(PLAIN, 8);
        let (tag, number) = (self.client.tag(), self.client.rng.i32(0..40));
        let value = tag.repeat(self.client.rng.usize(1..200));
        let state = plain_state(number, &value);
        let sql = format!(
            "UPDATE plain SET value = '{value}', number = {number} WHERE key = ANY ('{{{}}}')",
            keys.join(",")
        );
        self.commit(&sql, keys.into_iter().map(|key| write(PLAIN, key, &state)).collect())
    }

    fn delete(&mut self) -> Done {
        let (table, name, column, many) = match self.client.rng.u32(0..4) {
            0 => (NOTE, "caliber_note", "note_id", 200),
            1 => (ARTIFACT, "caliber_artifact", "artifact_id", 60),
            _ => (PLAIN, "plain", "key", 1_500),
        };
        // As many as come, once there are many.
        let count = if self.client.ledger.keys(table).count() > many { many / 2 } else { 2 };
        let keys = self.client.some(table, count);
        let list = keys.join(",");
        let sql = format!("DELETE FROM {name} WHERE {column} = ANY ('{{{list}}}')");
        self.commit(&sql, keys.into_iter().map(|key| delete(table, key)).collect())
    }

    fn copy(&mut self) -> Done {
        let (mut lines, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..self.client.rng.usize(100..800) {
            let (key, value, number, row) = self.plain();
            lines.push(format!("{key}\t{value}\t{number}\t{{{number}}}\n"));
            writes.push(row);
        }
        self.copy_in("COPY plain FROM STDIN", &lines, writes)
    }

    fn copy_notes(&mut self) -> Done {
        let (mut lines, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..self.client.rng.usize(10..80) {
            let (id, title, embedding) = (Uuid::now_v7(), self.client.tag(), self.embedding());
            lines.push(format!("{id}\tfact\t{title}\tcontent\traw\t{embedding}\n"));
            writes.push(write(NOTE, id, &format!("1 {title}")));
        }
        let copy =
            "COPY caliber_note (note_id, note_type, title, content, abstraction_level, embedding)
                    FROM STDIN";
        self.copy_in(copy, &lines, writes)
    }

    /// In a transaction block, since a COPY without one is answered before it is committed: the
    /// client takes that for its end, and a backend that is told to quit in between lets it see it.
    fn copy_in(&mut self, copy: &str, lines: &[String], writes: Writes) -> Done {
        self.run("BEGIN")?;
        let mut writer = self.db.copy_in(copy).map_err(|error| only_closed(&error, copy))?;
        for line in lines {
            if writer.write_all(line.as_bytes()).is_err() {
                // The server's own words come with the end.
                let error = writer.finish().expect_err(copy);
                return Err(only_closed(&error, copy));
            }
        }
        writer.finish().map_err(|error| only_closed(&error, copy))?;
        self.commit("COMMIT", writes)
    }

    fn savepoints(&mut self) -> Done {
        let (key, value, number, row) = self.plain();
        let (note, title, given_up) = (Uuid::now_v7(), self.client.tag(), Uuid::now_v7());
        let create =
            |id| format!("SELECT caliber_note_create('fact', '{title}', 'c', note_id => '{id}')");
        let sql = format!(
            "BEGIN; INSERT INTO plain VALUES ('{key}', '{value}', {number});
             SAVEPOINT a; {}; ROLLBACK TO a; SAVEPOINT b; {}; RELEASE b; COMMIT",
            create(given_up),
            create(note)
        );
        self.commit(&sql, vec![row, write(NOTE, note, &format!("1 {title}"))])
    }
}

fn plain_state(number: i32, value: &str) -> String {
    format!("{number} {}{}true", &value[..20], value.len())
}

/// Whether a rewrite gave up because the toast value of a row version that no snapshot sees any more
/// was pruned already, wholly or in part. PostgreSQL's, on heap too: `docs/limits.md`, and the test
/// `a_rewrite_may_miss_what_vacuum_took_from_the_toast_table`. Nothing is lost; a live row that misses
/// its value would be found after the crash.
fn misses_a_dead_toast_value(error: &postgres::Error, name: &str) -> bool {
    ["VACUUM FULL", "CLUSTER"].contains(&name)
        && error.as_db_error().is_some_and(|server| {
            server.code() == &SqlState::DATA_CORRUPTED && server.message().contains("chunk number")
        })
}

/// Maintains the tables until the connection ends.
fn maintain(db: &mut Db, rng: &mut Rng, round: usize, progress: &Progress, place: usize) {
    let mut made = 0;
    while !progress.stopped() {
        made += 1;
        let index = format!("made_{round}_{made}");
        let (name, sql) = match rng.usize(0..13) {
            0 => (
                "CREATE INDEX CONCURRENTLY",
                format!("CREATE INDEX CONCURRENTLY {index} ON plain (number DESC)"),
            ),
            1 => (
                "CREATE INDEX CONCURRENTLY",
                format!("CREATE INDEX CONCURRENTLY {index} ON caliber_turn (token_count)"),
            ),
            2 => (
                "CREATE INDEX CONCURRENTLY",
                format!("CREATE UNIQUE INDEX CONCURRENTLY {index} ON caliber_note (title)"),
            ),
            3 => ("CREATE INDEX", format!("CREATE INDEX {index} ON plain (lower(key))")),
            4 | 5 => {
                // Not of a table, which takes in the index of its toast table: PostgreSQL loses
                // entries of that while rows are written (docs/limits.md).
                let some = ["plain_pkey", "plain_hash", "plain_tags", "caliber_turn_pkey"];
                let index = some[rng.usize(0..some.len())];
                ("REINDEX CONCURRENTLY", format!("REINDEX INDEX CONCURRENTLY {index}"))
            }
            6 => ("VACUUM", "VACUUM".to_owned()),
            7 => {
                ("VACUUM (FREEZE)", "VACUUM (FREEZE) plain, caliber_turn, caliber_scope".to_owned())
            }
            8 => ("VACUUM FULL", "VACUUM FULL plain".to_owned()),
            9 => ("VACUUM FULL", "VACUUM FULL caliber_message".to_owned()),
            10 => ("CLUSTER", "CLUSTER plain USING plain_number".to_owned()),
            11 => ("ANALYZE", "ANALYZE".to_owned()),
            _ => ("CHECKPOINT", "CHECKPOINT".to_owned()),
        };
        progress.at(place, name);
        if let Err(error) = db.attempt(&sql)
            && !misses_a_dead_toast_value(&error, name)
        {
            let Closed = only_closed(&error, &sql);
            return;
        }
        let old = "SELECT format('DROP INDEX CONCURRENTLY %s', oid::regclass) FROM pg_class
                   WHERE relname LIKE 'made%' AND relkind = 'i' ORDER BY oid DESC OFFSET 3";
        let Ok(rows) = db.query(old, &[]).map_err(|error| only_closed(&error, old)) else { return };
        for row in rows {
            progress.at(place, "DROP INDEX CONCURRENTLY");
            let drop: String = row.get(0);
            if let Err(error) = db.attempt(&drop) {
                let Closed = only_closed(&error, &drop);
                return;
            }
        }
    }
}
