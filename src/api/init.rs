//! `caliber_init`: the entity tables, created as the caller's own. The cold path, and the only
//! one that runs SQL text.

use super::required;
use crate::ddl::{self, Object, Target};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Name, SetDone, SetOf};
use caliber_am::pg::transaction;
use caliber_am::pg::value::Value;
use pgrx::Spi;
use pgrx::datum::DatumWithOid;
use pgrx::spi::SpiClient;
use std::collections::HashSet;

caliber_am::sql_functions!(caliber_init);

/// Serialises callers, so that two of them do not create the same table: "caliber" in ASCII.
const ADVISORY_LOCK: i64 = 0x63_61_6c_69_62_65_72;

/// A row for a caller who may create objects in the schema, or the schema itself.
const MAY_CREATE: &str = "SELECT 1 WHERE COALESCE(
    (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1),
    has_database_privilege(current_database(), 'CREATE'))";

fn caliber_init(
    call: &Call<'_>,
    schema: Option<Name>,
    embedding_dim: Option<i32>,
) -> CaliberResult<SetDone> {
    // Before SPI, which takes a transaction id for a write: on a standby that is an error of its own.
    transaction::prevent_if_read_only(c"CREATE TABLE");
    let schema = required("schema", schema)?.0;
    let embedding_dim = required("embedding_dim", embedding_dim)?;
    let extension = call.extension_namespace();
    let created = Spi::connect_mut(|client| -> CaliberResult<Vec<String>> {
        let extension_schema = one_text(
            client,
            "SELECT nspname::text FROM pg_namespace WHERE oid = $1",
            &[extension.into()],
        )?;
        let vector_schema = one_text(
            client,
            "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
             WHERE e.extname = 'vector'",
            &[],
        )?;
        let (Some(extension_schema), Some(vector_schema)) = (extension_schema, vector_schema)
        else {
            return Err(CaliberError::Internal("extension vector is missing".to_owned()));
        };
        let target = Target {
            schema: &schema,
            extension_schema: &extension_schema,
            vector_schema: &vector_schema,
            embedding_dim,
        };
        create_missing(client, &target)
    })?;
    let mut answer = call.result_set(SetOf::Values);
    for name in created {
        answer.put(&[Value::text(&name)?]);
    }
    Ok(SetDone)
}

/// Runs the statements for what is not there yet; the names of what was created.
fn create_missing(client: &mut SpiClient<'_>, target: &Target<'_>) -> CaliberResult<Vec<String>> {
    let statements = ddl::statements(target)?;
    let schema = target.schema;
    // Who may not create anything is refused, or has nothing to do, without waiting for anybody.
    if found(client, MAY_CREATE, &[schema.into()])? {
        run(client, "SELECT pg_advisory_xact_lock($1)", &[ADVISORY_LOCK.into()])?;
    }
    let mut created = Vec::new();
    let mut commented = HashSet::new();
    let exists = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if !found(client, exists, &[schema.into()])? {
        let create = format!("CREATE SCHEMA {}", ddl::quote_identifier(schema));
        run(client, &create, &[])?;
        created.push(format!("schema {schema}"));
    }
    for statement in statements {
        let name = match statement.object {
            Object::Sequence(name) => format!("sequence {name}"),
            Object::Table(name) => format!("table {name}"),
            Object::View(name) => format!("view {name}"),
            Object::Index(name) => format!("index {name}"),
            Object::Constraint { name, .. } => format!("constraint {name}"),
            Object::Comment(on) => {
                if commented.contains(on) {
                    run(client, &statement.sql, &[])?;
                }
                continue;
            }
        };
        let there = match statement.object {
            Object::Constraint { table, name } => found(
                client,
                "SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3",
                &[schema.into(), table.into(), name.into()],
            )?,
            Object::Sequence(name)
            | Object::Table(name)
            | Object::View(name)
            | Object::Index(name) => found(
                client,
                "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2",
                &[schema.into(), name.into()],
            )?,
            Object::Comment(_) => continue,
        };
        if there {
            continue;
        }
        run(client, &statement.sql, &[])?;
        if let Object::Sequence(name) | Object::Table(name) | Object::View(name) = statement.object
        {
            commented.insert(name);
        }
        created.push(name);
    }
    Ok(created)
}

fn run(client: &mut SpiClient<'_>, sql: &str, arguments: &[DatumWithOid<'_>]) -> CaliberResult<()> {
    client.update(sql, None, arguments).map(drop).map_err(spi_error)
}

fn found(
    client: &mut SpiClient<'_>,
    sql: &str,
    arguments: &[DatumWithOid<'_>],
) -> CaliberResult<bool> {
    let rows = client.update(sql, Some(1), arguments).map_err(spi_error)?;
    Ok(!rows.is_empty())
}

fn one_text(
    client: &mut SpiClient<'_>,
    sql: &str,
    arguments: &[DatumWithOid<'_>],
) -> CaliberResult<Option<String>> {
    let rows = client.update(sql, Some(1), arguments).map_err(spi_error)?;
    if rows.is_empty() {
        return Ok(None);
    }
    rows.first().get_one::<String>().map_err(spi_error)
}

/// SPI's own failures. An error of the statement itself passes by, with its own SQLSTATE.
fn spi_error(error: pgrx::spi::SpiError) -> CaliberError {
    CaliberError::Internal(error.to_string())
}
