//! Every function with every argument null, empty, wrong and huge: a documented SQLSTATE or an
//! answer, never an internal error, and the connection goes on.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use caliber_tests::calls::{DOCUMENTED, Function, edges, fixtures, functions, valid};
use caliber_tests::{Schema, show};

#[test]
fn every_argument_of_every_function_is_answered_or_refused() {
    let schema = Schema::new("every_argument");
    let mut db = schema.connect();
    let fixtures = fixtures(&mut db);
    let pid = db.pid();
    let functions = functions(&mut db);
    assert!(functions.len() > 70, "{} functions", functions.len());
    let (mut calls, mut answers) = (0, BTreeMap::<String, usize>::new());
    for Function { name, arguments, .. } in &functions {
        let usual: Vec<_> =
            arguments.iter().map(|(a, ty, _)| (a, ty, valid(name, a, ty, &fixtures))).collect();
        for (tested, (argument, ty, kind)) in arguments.iter().enumerate() {
            let usual_value = usual[tested].2.clone();
            for edge in edges(argument, ty, kind).into_iter().chain([usual_value]) {
                let list: Vec<_> = usual
                    .iter()
                    .enumerate()
                    .map(|(i, (argument, ty, usual))| {
                        let value = if i == tested { &edge } else { usual };
                        format!("{argument} => ({value})::{ty}")
                    })
                    .collect();
                let sql = format!("SELECT * FROM {name}({})", list.join(", "));
                calls += 1;
                db.run("BEGIN");
                if let Err(error) = db.attempt(&sql) {
                    let code = error.code().map_or("", |code| code.code()).to_owned();
                    assert!(DOCUMENTED.contains(&code.as_str()), "{}", show(&error, &sql));
                    *answers.entry(name.clone()).or_default() += 0;
                } else {
                    *answers.entry(name.clone()).or_default() += 1;
                }
                db.run("ROLLBACK");
            }
        }
    }
    assert_eq!(db.pid(), pid);
    assert!(calls > 1500, "{calls} calls");
    // The usual values are usable, else only the first check of each function would be tested.
    let never: Vec<_> = answers.iter().filter(|(_, n)| **n == 0).map(|(name, _)| name).collect();
    let need_a_history = [
        "caliber_delegation_complete",
        "caliber_delegation_start",
        "caliber_handoff_complete",
        "caliber_message_acknowledge",
        "caliber_message_redrive",
        "caliber_message_release",
    ];
    assert!(never.iter().all(|name| need_a_history.contains(&name.as_str())), "{never:?}");
}
