//! The install script's files for `cargo pgrx schema`, `install` and `package`, in the order in
//! which `cargo xtask install` puts them together: that of their names.

use pgrx::extension_sql_file;

extension_sql_file!("../../sql/install/00_core.sql", name = "core", bootstrap);
extension_sql_file!(
    "../../sql/install/10_trajectory.sql",
    name = "trajectory",
    requires = ["core"]
);
extension_sql_file!("../../sql/install/11_scope.sql", name = "scope", requires = ["trajectory"]);
extension_sql_file!("../../sql/install/12_turn.sql", name = "turn", requires = ["scope"]);
extension_sql_file!("../../sql/install/13_artifact.sql", name = "artifact", requires = ["turn"]);
extension_sql_file!("../../sql/install/14_note.sql", name = "note", requires = ["artifact"]);
extension_sql_file!("../../sql/install/15_agent.sql", name = "agent", requires = ["note"]);
extension_sql_file!("../../sql/install/16_lock.sql", name = "lock", requires = ["agent"]);
extension_sql_file!("../../sql/install/17_message.sql", name = "message", requires = ["lock"]);
extension_sql_file!(
    "../../sql/install/18_delegation.sql",
    name = "delegation",
    requires = ["message"]
);
extension_sql_file!(
    "../../sql/install/19_handoff.sql",
    name = "handoff",
    requires = ["delegation"]
);
extension_sql_file!("../../sql/install/20_conflict.sql", name = "conflict", requires = ["handoff"]);
extension_sql_file!("../../sql/install/30_check.sql", name = "check", requires = ["conflict"]);
extension_sql_file!("../../sql/install/31_inspect.sql", name = "inspect", requires = ["check"]);
