//! The planner knows how many rows a list returns, and what it costs.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::Tree;
use serde_json::Value;

fn plan(t: &mut Tree, sql: &str) -> Value {
    let plan: Value = t.db.one(&format!("EXPLAIN (FORMAT JSON) {sql}"));
    plan[0]["Plan"].clone()
}

#[test]
fn a_list_is_expected_to_return_its_limit() {
    let mut t = Tree::new("planner");
    let (trajectory, scope) = (t.trajectory, t.scope);
    for (call, rows) in [
        (format!("caliber_turn_get_by_scope('{scope}')"), 100),
        (format!("caliber_turn_get_by_scope('{scope}', max_rows => 7)"), 7),
        (format!("caliber_turn_tail('{scope}', 3)"), 3),
        (format!("caliber_scope_list_by_trajectory('{trajectory}', 20)"), 20),
        ("caliber_note_search('[1,2,3,4,5,6,7,8]', 12)".to_owned(), 12),
        (format!("caliber_message_receive('{trajectory}', 4)"), 4),
        ("caliber_conflict_list_pending(max_rows => 50000)".to_owned(), 50_000),
    ] {
        let plan = plan(&mut t, &format!("SELECT * FROM {call}"));
        assert_eq!(plan["Plan Rows"], rows, "{call}: {plan}");
    }
}

#[test]
fn a_longer_list_costs_more() {
    let mut t = Tree::new("planner");
    let scope = t.scope;
    let mut cost = |rows: i32| {
        let sql = format!("SELECT * FROM caliber_turn_tail('{scope}', {rows})");
        plan(&mut t, &sql)["Total Cost"].as_f64().unwrap()
    };
    let (short, long) = (cost(1), cost(10_000));
    assert!(long > short * 10.0, "{short} {long}");
}

#[test]
fn a_join_with_a_short_list_looks_rows_up_by_index() {
    let mut t = Tree::new("planner");
    let scope = t.scope;
    t.db.run(&format!(
        "CREATE TABLE label AS SELECT n AS sequence, md5(n::text) AS label FROM generate_series(0, 49999) n;
         ALTER TABLE label ADD PRIMARY KEY (sequence);
         ANALYZE label;
         SELECT caliber_turn_create('{scope}', 'user', 'x')"
    ));
    let join = |rows: i32| {
        format!(
            "SELECT label FROM caliber_turn_get_by_scope('{scope}', max_rows => {rows}) t
             JOIN label USING (sequence)"
        )
    };
    let short = plan(&mut t, &join(5));
    assert_eq!(short["Node Type"], "Nested Loop", "{short}");
    assert_eq!(short["Plans"][1]["Node Type"], "Index Scan", "{short}");
    let long = plan(&mut t, &join(1_000_000));
    assert_eq!(long["Node Type"], "Hash Join", "{long}");
}
