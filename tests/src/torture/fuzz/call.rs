//! Random calls of the functions, made from what the catalog says of them.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::json;
use crate::calls::{Function, edges, fixtures, functions, valid};
use crate::db::{Db, lit};

/// What identifies a row of each entity.
const ENTITIES: &[&str] = &[
    "agent",
    "artifact",
    "conflict",
    "delegation",
    "handoff",
    "lock",
    "message",
    "note",
    "scope",
    "trajectory",
    "turn",
];

/// What is always rolled back: schemas that stay would be looked at by later calls, ever more of
/// them; and the rules take a scope's tokens to be those of its turns, which this call may change.
pub(super) const ALWAYS_UNDONE: &[&str] = &["caliber_init", "caliber_scope_update_tokens"];

/// The functions, and what is known of their arguments.
#[derive(Debug)]
pub struct Calls {
    functions: Vec<Function>,
    /// How many arguments may be left out, by function.
    optional: BTreeMap<String, usize>,
    /// The columns of all entities: keys for `changes`.
    columns: Vec<String>,
}

/// Rows that calls can be about, as expressions for their ids.
#[derive(Debug, Default)]
pub struct Rows {
    own: BTreeMap<&'static str, String>,
    newest: BTreeMap<&'static str, Vec<String>>,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub function: String,
    /// A statement with the call.
    pub sql: String,
    /// Whether what it does is to be rolled back.
    pub undo: bool,
}

impl Rows {
    /// Creates a row of each entity, which is the caller's own.
    pub fn create(db: &mut Db) -> Self {
        Self { own: fixtures(db), newest: BTreeMap::new() }
    }

    /// Looks for the rows that were created last, whoever did.
    pub fn look(&mut self, db: &mut Db) {
        for entity in ENTITIES {
            let key = format!("{entity}_id");
            self.newest.insert(
                entity,
                db.all(&format!(
                    "SELECT quote_literal({key}) FROM caliber_{entity} ORDER BY {key} DESC LIMIT 30"
                )),
            );
        }
    }

    /// A row of each entity.
    fn some(&self, rng: &mut Rng) -> BTreeMap<&str, String> {
        let mut some: BTreeMap<&str, String> =
            self.own.iter().map(|(entity, id)| (*entity, id.clone())).collect();
        for (entity, ids) in &self.newest {
            if rng.u8(0..10) < 6
                && let Some(id) = rng.choice(ids)
            {
                some.insert(entity, id.clone());
            }
        }
        some
    }

    /// The id of a row of any entity.
    fn any(&self, rng: &mut Rng) -> String {
        let some = self.some(rng);
        rng.choice(some.into_values()).unwrap_or_default()
    }
}

impl Calls {
    /// Reads them from the catalog.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(db: &mut Db) -> Self {
        let functions = functions(db);
        let optional = db
            .query(
                "SELECT p.proname::text, max(p.pronargdefaults)::int FROM pg_proc p
                 JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
                 JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'caliber-pg' GROUP BY 1",
                &[],
            )
            .unwrap();
        let optional = optional
            .iter()
            .map(|row| (row.get(0), usize::try_from(row.get::<_, i32>(1)).unwrap_or_default()));
        let columns = db.all(
            "SELECT DISTINCT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE c.relnamespace = 'caliber'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
             ORDER BY 1",
        );
        Self { functions, optional: optional.collect(), columns }
    }

    /// The names of all functions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|function| function.name.as_str())
    }

    /// A call with arguments that are valid, all but one, or at random. It waits for others only if
    /// somebody will interrupt it.
    pub fn random(&self, rng: &mut Rng, rows: &Rows, may_wait: bool) -> Call {
        let function = loop {
            let function = &self.functions[rng.usize(0..self.functions.len())];
            // Creates or looks at hundreds of objects.
            if function.name != "caliber_init" || rng.u8(0..20) == 0 {
                break function;
            }
        };
        let Function { name, arguments, .. } = function;
        let some = rows.some(rng);
        let (one, all) = match rng.u8(0..10) {
            0..4 => (None, false),
            4..8 if !arguments.is_empty() => (Some(rng.usize(0..arguments.len())), false),
            _ => (None, true),
        };
        let required = arguments.len() - self.optional.get(name).copied().unwrap_or_default();
        let by_position = if rng.bool() { 0 } else { rng.usize(0..=arguments.len()) };
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for (i, (argument, ty, kind)) in arguments.iter().enumerate() {
            let is_off = one == Some(i) || (all && rng.bool());
            if i >= by_position && i >= required && !is_off && rng.bool() {
                continue;
            }
            let value = if is_off {
                self.off(rng, rows, argument, ty, kind)
            } else {
                self.valid(rng, name, argument, ty, &some)
            };
            let value = match (argument.as_str(), ty.as_str()) {
                // Nobody would interrupt it.
                ("wait", _) if !may_wait => {
                    pick(rng, &["'0'", "'3 ms'", "'-1 second'", "NULL"]).to_owned()
                }
                _ => value,
            };
            if i < by_position {
                positional.push(format!("({value})::{ty}"));
            } else {
                named.push(format!("{argument} => ({value})::{ty}"));
            }
        }
        rng.shuffle(&mut named);
        positional.append(&mut named);
        let call = format!("{name}({})", positional.join(", "));
        let sql = match rng.u8(0..12) {
            0 => format!("SELECT {call}"),
            1 => format!("SELECT {call} FROM generate_series(1, 2)"),
            2 => format!("SELECT r::text FROM {call} r LIMIT 2"),
            3 => format!("SELECT count(r::text) FROM {call} r"),
            _ => format!("SELECT * FROM {call}"),
        };
        let undo = ALWAYS_UNDONE.contains(&name.as_str()) || rng.u8(0..10) == 0;
        Call { function: name.clone(), sql, undo }
    }

    /// A value with which the call may well succeed.
    fn valid(
        &self,
        rng: &mut Rng,
        function: &str,
        argument: &str,
        ty: &str,
        some: &BTreeMap<&str, String>,
    ) -> String {
        match argument {
            // That of a live lease, or none as high.
            "fence" if rng.bool() => "(SELECT last_value FROM caliber_fence)".to_owned(),
            "fence" => "NULL".to_owned(),
            "expected_version" => pick(rng, &["NULL", "1", "2"]).to_owned(),
            // So that leases end, and messages that nobody acknowledges die.
            "ttl" | "visibility" if rng.bool() => "'1 ms'".to_owned(),
            "receipt" => pick(rng, &["1", "1", "2"]).to_owned(),
            "messages" if rng.bool() => json::messages(rng, &self.columns),
            "changes" if rng.bool() => json::object(rng, &self.columns),
            // The one that `valid` knows is that of a single lease.
            _ => valid(function, argument, ty, some),
        }
    }

    /// A value at the edge of its type, or just any.
    fn off(&self, rng: &mut Rng, rows: &Rows, argument: &str, ty: &str, kind: &str) -> String {
        if rng.u8(0..10) < 4
            && let Some(value) = self.any(rng, rows, argument, ty)
        {
            return value;
        }
        let edges = edges(argument, ty, kind);
        let mut value = &edges[rng.usize(0..edges.len())];
        let is_large = |value: &str| {
            ["repeat(", "array_fill(", "generate_series("].iter().any(|word| value.contains(word))
        };
        // They take a thousand times as long as others.
        while is_large(value) && rng.u8(0..30) != 0 {
            value = &edges[rng.usize(0..edges.len())];
        }
        value.clone()
    }

    /// Any value of the type, if it is one of those that are made here.
    fn any(&self, rng: &mut Rng, rows: &Rows, argument: &str, ty: &str) -> Option<String> {
        let ids = |rng: &mut Rng| match rng.u8(0..8) {
            0 => "NULL".to_owned(),
            _ => rows.any(rng),
        };
        Some(match ty {
            "uuid" => rows.any(rng),
            "text" => lit(&text(rng)),
            "integer" | "bigint" => {
                let bits = rng.u32(0..if ty == "integer" { 32 } else { 64 });
                let number = rng.i64(..) >> (63 - bits);
                format!("'{number}'")
            }
            "real" => format!("'{:e}'", f32::from_bits(rng.u32(..))),
            "interval" => {
                let unit = pick(rng, &["microseconds", "ms", "seconds", "days", "months", "years"]);
                format!("'{} {unit}'", rng.i64(-1000..100_000))
            }
            "timestamp with time zone" => pick(
                rng,
                &[
                    "now()",
                    "clock_timestamp() + '1 ms'",
                    "'4713-11-24 00:00 BC'",
                    "'294276-12-31 23:59:59.999999+00'",
                    "'294277-01-01 00:00+00'",
                    "'2026-02-30'",
                ],
            )
            .to_owned(),
            "jsonb" => match argument {
                "messages" => json::messages(rng, &self.columns),
                "changes" => json::object(rng, &self.columns),
                _ => json::any(rng, &self.columns),
            },
            "uuid[]" => array(rng, ty, ids),
            "text[]" => array(rng, ty, |rng| lit(&text(rng))),
            "jsonb[]" => array(rng, ty, |rng| json::any(rng, &self.columns)),
            t if t.ends_with("vector") => {
                let dimension = pick(rng, &[1, 7, 8, 8, 8, 9, 2001]);
                let numbers: Vec<_> =
                    (0..dimension).map(|_| (rng.f32() - 0.5).to_string()).collect();
                format!("'[{}]'", numbers.join(","))
            }
            "regclass" => {
                let entity = pick(rng, ENTITIES);
                let other = ["'caliber_fence'", "'pg_type'", "'caliber_no_such_table'"];
                match rng.u8(0..4) {
                    0 => pick(rng, &other).to_owned(),
                    1 => format!("'caliber_{entity}_pkey'"),
                    _ => format!("'caliber_{entity}'"),
                }
            }
            _ => return None,
        })
    }
}

/// One of these.
pub(super) fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}

/// An array of one or two dimensions, with nulls in it.
fn array(rng: &mut Rng, ty: &str, mut element: impl FnMut(&mut Rng) -> String) -> String {
    let mut row = |rng: &mut Rng, n: usize| {
        let elements: Vec<_> = (0..n).map(|_| element(rng)).collect();
        let of = ty.trim_end_matches("[]");
        let elements: Vec<_> = elements.iter().map(|e| format!("({e})::{of}")).collect();
        format!("ARRAY[{}]::{ty}", elements.join(", "))
    };
    let n = rng.usize(0..6);
    if rng.u8(0..8) > 0 {
        return row(rng, n);
    }
    format!("ARRAY[{}, {}]", row(rng, n), row(rng, n))
}

/// A text that PostgreSQL stores.
pub(super) fn text(rng: &mut Rng) -> String {
    let n = match rng.u8(0..20) {
        0 => rng.usize(500..5000),
        _ => rng.usize(0..12),
    };
    (0..n)
        .map(|_| match rng.u8(0..4) {
            0 => rng.char('\u{1}'..),
            1 => pick(rng, &['\'', '"', '\\', '*', '%', '_', '{', '}', '[', ']', ',', ':', '\n']),
            _ => rng.alphanumeric(),
        })
        .collect()
}
