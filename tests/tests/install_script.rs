//! The install script, the library's symbols, the Rust functions and the catalog say the same.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use caliber_tests::Server;
use object::{Object, ObjectSymbol};

/// A file or folder of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The texts of all files in a folder with this extension.
fn texts(folder: &str, extension: &str) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(project(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{extension} file in {folder}");
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn cargo_pgrx_gets_the_files_that_make_up_the_install_script() {
    let list = fs::read_to_string(project("src/api/schema.rs")).unwrap();
    let listed: Vec<_> = list
        .split("extension_sql_file!(")
        .skip(1)
        .map(|call| call.split('"').nth(1).expect("a path").rsplit('/').next().unwrap().to_owned())
        .collect();
    let mut files: Vec<_> = fs::read_dir(project("sql/install"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(listed, files);
}

/// The symbols that the install script names.
fn declared() -> BTreeSet<String> {
    let mut symbols = BTreeSet::new();
    for text in texts("sql/install", "sql") {
        for after in text.split("'MODULE_PATHNAME'").skip(1) {
            let symbol = after.split('\'').nth(1);
            let symbol = symbol.filter(|_| after.trim_start().starts_with(','));
            symbols.insert(symbol.expect("AS 'MODULE_PATHNAME', 'symbol'").to_owned());
        }
    }
    symbols
}

/// The symbols that the library exports.
fn exported() -> BTreeSet<String> {
    let library = fs::read(&Server::get().lib).unwrap();
    let library = object::File::parse(&*library).unwrap();
    library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .map(|symbol| symbol.name().unwrap().to_owned())
        .collect()
}

#[test]
fn every_declared_function_is_exported() {
    let exported = exported();
    for symbol in declared() {
        assert!(exported.contains(&symbol), "the library does not export {symbol}");
        let info = format!("pg_finfo_{symbol}");
        assert!(exported.contains(&info), "the library does not export {info}");
    }
}

#[test]
fn every_exported_function_is_declared() {
    let declared = declared();
    assert!(declared.len() > 10);
    for symbol in exported() {
        if let Some(function) = symbol.strip_prefix("pg_finfo_") {
            assert!(declared.contains(function), "{function} is in no install script");
        }
        if symbol.starts_with("caliber_") {
            assert!(declared.contains(&symbol), "{symbol} is in no install script");
        }
    }
}

/// The functions of the extension: a condition on `pg_proc p`.
const OURS: &str = "EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'caliber-pg')";

#[test]
fn every_function_has_a_comment_of_one_line() {
    let mut db = Server::get().connect();
    let without = db.all::<String>(&format!(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE {OURS}
         AND coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^[^\\n]+$'"
    ));
    assert_eq!(without, [""; 0], "without a comment");
    assert!(db.one::<i64>(&format!("SELECT count(*) FROM pg_proc p WHERE {OURS}")) > 10);
}

#[test]
fn every_type_has_a_comment() {
    let without = Server::get().connect().all::<String>(
        "SELECT t.typname::text FROM pg_type t JOIN pg_depend d ON d.objid = t.oid
         JOIN pg_extension e ON e.oid = d.refobjid
         WHERE d.classid = 'pg_type'::regclass AND d.deptype = 'e' AND e.extname = 'caliber-pg'
         AND t.typtype IN ('d', 'e', 'c') AND obj_description(t.oid, 'pg_type') IS NULL
         AND coalesce(obj_description(nullif(t.typrelid, 0), 'pg_class'), '') = ''",
    );
    assert_eq!(without, [""; 0], "without a comment");
}

/// They are volatile because they read the clock, or make ids; they write nothing.
const VOLATILE_READERS: &[&str] =
    &["caliber_new_id", "caliber_lock_check", "caliber_agent_list_active"];

#[test]
fn functions_are_declared_truthfully() {
    let mut db = Server::get().connect();
    let unsafe_ones = db.all::<String>(&format!(
        "SELECT p.proname::text FROM pg_proc p WHERE {OURS} AND p.provolatile = 'v'
         AND p.proparallel = 's' AND NOT p.proname = ANY ('{{{}}}')",
        VOLATILE_READERS.join(",")
    ));
    assert_eq!(unsafe_ones, [""; 0], "a function that writes is not for parallel workers");
    let wrong = db.all::<String>(&format!(
        "SELECT p.proname::text FROM pg_proc p WHERE {OURS}
         AND p.proname ~ ('_(create|append_many|update|update_tokens|set_status|close|delete|init|'
             || 'register|heartbeat|touch|supersede|acquire|extend|release|reap|send|send_many|receive|'
             || 'acknowledge|redrive|accept|start|complete|fail|reject|resolve)$')
         AND (p.provolatile <> 'v' OR p.proparallel <> 'u' OR p.proisstrict)"
    ));
    assert_eq!(wrong, [""; 0], "writes, so it is VOLATILE, PARALLEL UNSAFE and not STRICT");
    let wrong = db.all::<String>(&format!(
        "SELECT p.proname::text FROM pg_proc p WHERE {OURS} AND p.proname ~ '_get$'
         AND (p.provolatile <> 's' OR p.proparallel <> 's' OR NOT p.proisstrict)"
    ));
    assert_eq!(wrong, [""; 0], "reads, so it is STABLE, PARALLEL SAFE and STRICT");
    let open = db.all::<String>(&format!(
        "SELECT p.proname::text FROM pg_proc p WHERE {OURS} AND p.prosecdef"
    ));
    assert_eq!(open, [""; 0], "no function runs with its owner's privileges");
}

/// One argument: its name and its Rust type.
type Argument = (String, String);

/// The functions in `src/api`, by name, without their first argument, the call.
fn rust_functions() -> BTreeMap<String, Vec<Argument>> {
    let mut functions = BTreeMap::new();
    for text in texts("src/api", "rs") {
        for function in text.split("\nfn caliber_").skip(1) {
            let (name, rest) = function.split_once('(').unwrap();
            let (arguments, _) = rest.split_once(") ->").expect("a function returns something");
            let arguments = split_arguments(arguments);
            assert!(arguments[0].1.contains("Call<"), "{name} does not begin with the call");
            functions.insert(format!("caliber_{name}"), arguments[1..].to_vec());
        }
    }
    functions
}

fn split_arguments(list: &str) -> Vec<Argument> {
    let (mut pieces, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            pieces.push(String::new());
        } else {
            pieces.last_mut().unwrap().push(c);
        }
    }
    pieces
        .iter()
        .filter(|piece| !piece.trim().is_empty())
        .map(|piece| {
            let (name, ty) = piece.split_once(':').unwrap();
            let ty = ty.trim().trim_start_matches("pg_sys::").to_owned();
            (name.trim().to_owned(), ty.replace("pg_sys::", ""))
        })
        .collect()
}

/// The SQL types that a Rust argument type reads; `None` for all.
fn sql_types(rust: &str) -> Option<&'static [&'static str]> {
    Some(match rust {
        "Option<Uuid>" => &["uuid"],
        "Option<i32>" => &["integer"],
        "Option<i64>" => &["bigint"],
        "Option<bool>" => &["boolean"],
        "Option<Interval>" => &["interval"],
        "Option<Timestamptz>" => &["timestamp with time zone"],
        "Option<Json>" => &["jsonb"],
        "Option<Text>" => &["text"],
        "Option<Name>" => &["name"],
        "Option<Oid>" => &["regclass", "oid"],
        _ if rust.starts_with("Value<") => return None,
        _ => &[],
    })
}

#[test]
fn rust_functions_take_the_declared_arguments() {
    let mut db = Server::get().connect();
    let rows = db
        .query(
            &format!(
                "SELECT p.prosrc, coalesce(p.proargnames[1:p.pronargs], '{{}}'),
                 ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n) ORDER BY n)
                 FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
                 WHERE {OURS} AND NOT 'internal'::regtype = ANY (p.proargtypes)"
            ),
            &[],
        )
        .unwrap();
    assert!(rows.len() > 10);
    let rust = rust_functions();
    for row in rows {
        let symbol: String = row.get(0);
        let name = symbol.strip_suffix("_wrapper").expect("symbols end in _wrapper");
        let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
        let arguments = rust.get(name).unwrap_or_else(|| panic!("no Rust function {name}"));
        let rust_names: Vec<_> = arguments.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(rust_names, names, "{name}");
        for ((argument, rust), sql) in arguments.iter().zip(types) {
            if let Some(accepted) = sql_types(rust) {
                assert!(accepted.contains(&&*sql), "{name}: {argument} is {rust} but {sql}");
            }
        }
    }
}
