//! The real client programs.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;

use crate::server::Server;

/// A client program, with the options that connect it to a database of the server under test.
pub fn program(name: &str, db: &str) -> Command {
    let server = Server::get();
    let mut command = Command::new(server.pg_bin.join(name));
    command.env_remove("PGOPTIONS").args(["-h".as_ref(), server.socket.as_os_str()]).args([
        "-p",
        &server.port.to_string(),
        "-U",
        &server.user,
        "-d",
        db,
    ]);
    command
}

/// Runs a command that must succeed; its standard output.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Feeds SQL to a new psql that must run it without an error.
#[track_caller]
pub fn feed(db: &str, sql: &str) {
    let mut input = scratch();
    std::io::Write::write_all(&mut input, sql.as_bytes()).unwrap();
    input.rewind().unwrap();
    let mut command = program("psql", db);
    output(command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).stdin(input));
}

/// Runs a script in psql and returns what a user would see, statements and errors included.
#[track_caller]
pub fn transcript(script: &Path, options: &str, variables: &[(&str, &str)]) -> String {
    // One file for both streams keeps errors where they belong between the results.
    let mut out = scratch();
    let mut command = program("psql", &Server::get().db);
    command.args(["-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "VERBOSITY=verbose"]);
    command.args(["-v", "SHOW_CONTEXT=never"]).env("PGOPTIONS", options);
    for (name, value) in variables {
        command.args(["-v", &format!("{name}={value}")]);
    }
    let status = command
        .arg("-f")
        .arg(script)
        .stdout(out.try_clone().unwrap())
        .stderr(out.try_clone().unwrap())
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut text = String::new();
    out.rewind().unwrap();
    out.read_to_string(&mut text).unwrap();
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

/// A file that nobody else sees and that goes away when it is closed.
fn scratch() -> File {
    let path = std::env::temp_dir().join(format!("caliber-test-{}", uuid::Uuid::now_v7()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
