//! No SPI: the functions go through the access method. Only the cold path of `caliber_init`
//! runs SQL.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Where SQL may be run.
const COLD_PATH: &str = "src/api/init.rs";

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text without what stands in comments; lines stay lines. A `//` in a literal ends the line
/// too, which hides nothing but the rest of that literal's line.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut in_block = 0;
    for line in text.lines() {
        let mut rest = line;
        while !rest.is_empty() {
            if in_block > 0 {
                match rest.split_once("*/") {
                    Some((_, after)) => (in_block, rest) = (in_block - 1, after),
                    None => break,
                }
            } else if rest.starts_with("//") {
                break;
            } else if let Some(after) = rest.strip_prefix("/*") {
                (in_block, rest) = (in_block + 1, after);
            } else {
                let first = rest.chars().next().unwrap();
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        code.push('\n');
    }
    code
}

#[test]
fn spi_is_used_on_the_cold_path_only() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    rust_files(&project.join("am/src"), &mut files);
    rust_files(&project.join("src"), &mut files);
    assert!(files.len() > 20, "the sources are elsewhere");
    let (mut cold, mut found) = (false, Vec::new());
    for file in files {
        let code = without_comments(&fs::read_to_string(&file).unwrap());
        for (number, line) in (1..).zip(code.lines()) {
            if !["Spi::", "SPI_", "spi::", "SpiClient"].iter().any(|word| line.contains(word)) {
                continue;
            }
            if file.ends_with(COLD_PATH) {
                cold = true;
            } else {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "SPI outside of {COLD_PATH}:\n{}", found.join("\n"));
    assert!(cold, "{COLD_PATH} is not where SQL is run: this test looks in the wrong place");
}

#[test]
fn comments_are_not_code() {
    assert_eq!(without_comments("a // Spi::x\nb /* SPI_\nspi:: */ c\n"), "a \nb \n c\n");
    assert_eq!(without_comments("Spi::run();"), "Spi::run();\n");
}
