//! The documentation is true: its examples run, and it describes the functions that there are.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use caliber_tests::{Db, Server, show};

/// A file of the project; `None` when there is none.
fn document(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).ok()
}

/// The blocks marked as SQL, with the numbers of their first lines.
fn sql_blocks(text: &str) -> Vec<(usize, String)> {
    blocks_in("sql", text)
}

/// The blocks marked as being in this language, with the numbers of their first lines.
fn blocks_in(language: &str, text: &str) -> Vec<(usize, String)> {
    let marked = format!("```{language}");
    let (mut blocks, mut open) = (Vec::new(), None);
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.trim()) {
            (None, fence) if fence == marked => open = Some((number + 1, String::new(), true)),
            (None, fence) if fence.starts_with("```") => {
                open = Some((number, String::new(), false))
            }
            (Some(_), "```") => {
                if let Some((number, block, true)) = open.take() {
                    blocks.push((number, block));
                }
            }
            (Some((_, block, _)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// A database of its own, dropped when it goes away.
struct Database(String);

impl Database {
    fn new(name: &str) -> Self {
        let name = format!("{name}_{}", std::process::id());
        let mut db = Server::get().connect();
        db.run(&format!("DROP DATABASE IF EXISTS {name}"));
        db.run(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self(name)
    }

    fn connect(&self) -> Db {
        Server::get().connect_to(&self.0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.0);
        if let Err(error) = Server::get().connect().attempt(&drop) {
            eprintln!("database {} stays: {error}", self.0);
        }
    }
}

/// Runs the blocks of a file in their order, in one session of a fresh database.
fn run_blocks(path: &str, blocks: &[(usize, String)], mut db: Db) {
    let amcheck = Server::get().has_contrib("amcheck");
    for (line, block) in blocks {
        if block.contains("amcheck") && !amcheck {
            continue;
        }
        if let Err(error) = db.attempt(block) {
            panic!("{path}:{line}: {}", show(&error, block));
        }
    }
}

#[test]
fn the_examples_of_the_reference_run() {
    let database = Database::new("docs_reference");
    let blocks = sql_blocks(&document("docs/sql.md").expect("docs/sql.md"));
    assert!(blocks.len() > 10, "docs/sql.md has {} examples", blocks.len());
    let mut db = database.connect();
    db.run("CREATE EXTENSION \"caliber-pg\" CASCADE; SELECT caliber_init()");
    run_blocks("docs/sql.md", &blocks, db);
}

#[test]
fn the_cookbook_runs() {
    let text = document("docs/cookbook.md").expect("docs/cookbook.md");
    let blocks = sql_blocks(&text);
    assert!(blocks.len() > 5, "docs/cookbook.md has {} examples", blocks.len());
    let database = Database::new("docs_cookbook");
    run_blocks("docs/cookbook.md", &blocks, database.connect());
    let python = std::env::var_os("CALIBER_TEST_PYTHONPATH").expect("CALIBER_TEST_PYTHONPATH");
    for (line, script) in five_scripts("python", &text) {
        let mut program = Command::new("python3");
        program.env("PYTHONPATH", &python).args(["-c", &script]);
        run_script(program, &database, line);
    }
    // Node is the one client that a machine may be without; xtask says so.
    let Some(node) = std::env::var_os("CALIBER_TEST_NODE").map(PathBuf::from) else { return };
    for (line, script) in five_scripts("js", &text) {
        let mut program = Command::new("node");
        program.current_dir(&node).args(["--input-type=module", "--eval", &script]);
        run_script(program, &database, line);
    }
}

/// The scripts of the five recipes.
fn five_scripts(language: &str, text: &str) -> Vec<(usize, String)> {
    let scripts = blocks_in(language, text);
    assert_eq!(scripts.len(), 5, "one {language} script a recipe");
    scripts
}

/// Runs a script that has to succeed, on a database.
fn run_script(mut program: Command, database: &Database, line: usize) {
    let output = program
        .envs(Server::get().client_environment(&database.0))
        .output()
        .unwrap_or_else(|e| panic!("cannot run {program:?}: {e}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "docs/cookbook.md:{line}: {}\n{out}{err}", output.status);
}

#[test]
fn the_examples_of_the_readme_run() {
    let blocks = document("README.md").map(|text| sql_blocks(&text)).unwrap_or_default();
    let database = Database::new("docs_readme");
    let mut db = database.connect();
    db.run("CREATE EXTENSION \"caliber-pg\" CASCADE; SELECT caliber_init()");
    run_blocks("README.md", &blocks, db);
}

/// A function by its name and the names of its arguments.
type Signature = (String, Vec<String>);

/// The functions that the reference describes.
fn documented() -> BTreeSet<Signature> {
    let text = document("docs/sql.md").expect("docs/sql.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `caliber_"));
    headings
        .map(|heading| {
            let (name, rest) = heading.split_once('(').expect("a signature");
            let (arguments, _) = rest.split_once(") →").expect("a signature with a result");
            let names = arguments
                .split(", ")
                .filter_map(|argument| argument.split_whitespace().next())
                .map(str::to_owned);
            (format!("caliber_{name}"), names.collect())
        })
        .collect()
}

#[test]
fn the_reference_describes_the_functions_that_there_are() {
    let mut db = Server::get().connect();
    let rows = db
        .query(
            "SELECT p.proname::text, coalesce(p.proargnames[1:p.pronargs], '{}')
             FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'caliber-pg'
             WHERE d.classid = 'pg_proc'::regclass AND NOT 'internal'::regtype = ANY (p.proargtypes)
             AND p.proname <> 'caliber_am_callbacks'",
            &[],
        )
        .unwrap();
    let there: BTreeSet<Signature> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let documented = documented();
    let missing: Vec<_> = there.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/sql.md: {missing:?}");
    let unknown: Vec<_> = documented.difference(&there).collect();
    assert!(unknown.is_empty(), "docs/sql.md describes what is not there: {unknown:?}");
}

/// What is wrong with the table of limits: rows without three columns, and tests that are not among
/// these sources.
fn untested_limits(text: &str, sources: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", limit, seen, tests, ""] = cells[..] else {
            wrong.push(format!("not three columns: {row}"));
            continue;
        };
        if [limit, seen, tests].contains(&"") {
            wrong.push(format!("an empty column: {row}"));
        }
        for test in tests.split(", ").filter(|test| !test.is_empty()) {
            let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            match name {
                Some(name) if sources.contains(&format!("fn {name}(")) => {}
                _ => wrong.push(format!("no such test: {test}")),
            }
        }
    }
    wrong
}

/// The text of all Rust files of a folder and of those below it.
fn sources_in(folder: &Path) -> String {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| match path {
        folder if folder.is_dir() => sources_in(folder),
        file if file.extension().is_some_and(|e| e == "rs") => fs::read_to_string(file).unwrap(),
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn every_limit_names_its_test() {
    let text = document("docs/limits.md").expect("docs/limits.md");
    let rows = text.lines().filter(|line| line.starts_with("| ")).count();
    assert!(rows > 30, "docs/limits.md has {rows} rows");
    let sources = sources_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let wrong = untested_limits(&text, &sources);
    assert!(wrong.is_empty(), "docs/limits.md: {wrong:#?}");
}

#[test]
fn a_limit_without_its_test_is_noticed() {
    let head = "text\n| limit | what you see | test |\n| --- | --- | --- |\n";
    let of = |row: &str| untested_limits(&format!("{head}{row}\n"), "fn one() {}\nfn two() {}");
    assert_eq!(of("| a | 0A000 | `one`, `two` |"), [""; 0]);
    assert_eq!(of("| a | 0A000 | — |"), ["no such test: —"]);
    assert_eq!(of("| a | 0A000 | `one`, `tow` |"), ["no such test: `tow`"]);
    assert_eq!(of("| a | 0A000 | `ne` |"), ["no such test: `ne`"]);
    assert_eq!(of("| a | 0A000 | one |"), ["no such test: one"]);
    assert_eq!(of("| a | 0A000 |"), ["not three columns: | a | 0A000 |"]);
    assert_eq!(of("| a | 0A000 | |"), ["an empty column: | a | 0A000 | |"]);
}

#[test]
fn only_blocks_marked_as_sql_are_examples() {
    let text = "a\n```sql\nSELECT 1;\n```\n```\nno\n```\n```sql\nSELECT 2;\nSELECT 3;\n```\n";
    assert_eq!(
        sql_blocks(text),
        [(3, "SELECT 1;\n".to_owned()), (9, "SELECT 2;\nSELECT 3;\n".to_owned())]
    );
}
