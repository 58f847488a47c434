//! Read functions in parallel workers answer what they answer in the leader.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::Tree;
use serde_json::Value;
use uuid::Uuid;

#[test]
fn workers_answer_as_the_leader_does() {
    let mut t = Tree::new("parallel");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let boss: Uuid = t.db.one("SELECT caliber_agent_register('boss', can_delegate_to => '{*}')");
    let worker: Uuid = t.db.one("SELECT caliber_agent_register('worker')");
    t.db.run(&format!(
        "SELECT caliber_turn_create('{scope}', 'user', 'x') FROM generate_series(1, 9);
         SELECT caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'a', 'c', '[1,2,3,4,5,6,7,8]');
         SELECT caliber_note_create('fact', 't', 'c', ARRAY['{trajectory}'::uuid], embedding => '[1,1,1,1,1,1,1,1]');
         SELECT caliber_lock_acquire('{worker}', 'scope', '{scope}', '1 day');
         SELECT caliber_message_send('{boss}', 'm', '1', to_agent_type => 'worker');
         SELECT caliber_message_send('{boss}', 'm', '2', '{worker}');
         SELECT caliber_delegation_create('{boss}', 'part', '{trajectory}', delegatee_agent_type => '*');
         SELECT caliber_handoff_create('{boss}', '{trajectory}', '{scope}', 'escalation', to_agent_type => 'worker');
         SELECT caliber_conflict_create('goal_conflict', 'a', '{scope}', 'b', '{scope}')"
    ));
    let note: Uuid = t.db.one("SELECT note_id::uuid FROM caliber_note");
    for call in [
        format!("caliber_trajectory_get('{trajectory}')"),
        "caliber_trajectory_list_by_status('active')".to_owned(),
        format!("caliber_scope_list_by_trajectory('{trajectory}')"),
        format!("caliber_scope_get_current('{trajectory}')"),
        format!("caliber_turn_get_by_scope('{scope}')"),
        format!("caliber_turn_tail('{scope}', 3)"),
        format!("caliber_artifact_query_by_type('{trajectory}', 'fact')"),
        format!("caliber_artifact_query_by_scope('{scope}')"),
        "caliber_artifact_search('[1,2,3,4,5,6,7,8]')".to_owned(),
        format!("caliber_note_get_many(ARRAY['{note}']::uuid[])"),
        format!("caliber_note_query_by_trajectory('{trajectory}')"),
        "caliber_note_list_by_type('fact')".to_owned(),
        "caliber_note_search('[1,2,3,4,5,6,7,8]')".to_owned(),
        "caliber_agent_list_by_type('worker')".to_owned(),
        "caliber_agent_list_active('1 hour')".to_owned(),
        format!("caliber_lock_check('scope', '{scope}')"),
        format!("caliber_lock_list_by_resource('scope', '{scope}')"),
        format!("caliber_message_list_for_agent('{worker}')"),
        format!("caliber_delegation_list_pending('{worker}')"),
        format!("caliber_handoff_list_pending('{worker}')"),
        "caliber_conflict_list_pending()".to_owned(),
    ] {
        let sql = format!("SELECT to_jsonb(r) FROM {call} r");
        t.db.run("SET debug_parallel_query = off");
        let here: Vec<Value> = t.db.all(&sql);
        t.db.run("SET debug_parallel_query = on");
        let there: Vec<Value> = t.db.all(&sql);
        assert!(!here.is_empty(), "{call}");
        assert_eq!(there, here, "{call}");
    }
    // The plans do use a worker.
    let plan: Vec<String> =
        t.db.all(&format!("EXPLAIN SELECT * FROM caliber_turn_get_by_scope('{scope}')"));
    assert!(plan.iter().any(|line| line.contains("Gather")), "{plan:?}");
}
