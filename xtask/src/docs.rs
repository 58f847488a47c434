//! docs/DEPENDENCY_GRAPH.md, made from the entities' definitions and the tables' DDL.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use caliber_am::model::{Change, Column, ColumnType, Entity, Method, Partial, Path};
use caliber_pg::ddl::{self, Object, Target};
use caliber_pg::entity::ENTITIES;

use crate::progress;
use crate::workspace::Workspace;

const TARGET: Target = Target {
    schema: "caliber",
    extension_schema: "public",
    vector_schema: "public",
    embedding_dim: 1536,
};

/// Writes the file.
pub fn write(workspace: &Workspace) -> Result<()> {
    let path = file(&workspace.root);
    fs::write(&path, dependency_graph()?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    progress::say(format_args!("Wrote {}", path.display()));
    Ok(())
}

fn file(root: &std::path::Path) -> PathBuf {
    root.join("docs/DEPENDENCY_GRAPH.md")
}

/// One foreign key.
struct Reference {
    from: &'static str,
    columns: String,
    to: String,
    on_delete: String,
}

fn dependency_graph() -> Result<String> {
    let references = references()?;
    let mut text = String::from(
        "# The entities and what refers to what\n\n\
         Made by `cargo xtask docs` from the definitions in `src/entity/` and the DDL in `sql/tables/`;\n\
         a test compares it with them. How a column may change is enforced by the access method on\n\
         every path into the table; what docs/sql.md calls a final state restricts it further.\n\n\
         ```mermaid\nerDiagram\n",
    );
    for reference in &references {
        let Reference { from, columns, to, .. } = reference;
        writeln!(text, "    {to} ||--o{{ {from} : \"{columns}\"")?;
    }
    text.push_str("```\n");
    for entity in &ENTITIES {
        describe(&mut text, entity, &references)?;
    }
    Ok(text)
}

fn describe(text: &mut String, entity: &Entity, references: &[Reference]) -> Result<()> {
    let name = entity.name;
    writeln!(text, "\n## {name}\n\nTable `{}`, key domain `{}`.", entity.table, entity.domain)?;
    if entity.append_only {
        writeln!(text, "Rows are appended and deleted, never updated.")?;
    }
    if !entity.states.is_empty() {
        writeln!(text)?;
    }
    for state in entity.states {
        let next = match state.next {
            [] => "final".to_owned(),
            next => format!("to {}", next.join(", ")),
        };
        writeln!(text, "- state `{}`: {next}", state.label)?;
    }
    writeln!(text, "\n| column | type | changes |\n| --- | --- | --- |")?;
    for column in entity.columns {
        let (sql_type, how) = (sql_type(column), how(column.change));
        writeln!(text, "| `{}` | {sql_type} | {how} |", column.name)?;
    }
    let of = |reference: &&Reference| reference.from == name;
    if references.iter().any(|reference| of(&reference)) {
        writeln!(text, "\n| refers by | to | when that is deleted |\n| --- | --- | --- |")?;
        for Reference { columns, to, on_delete, .. } in references.iter().filter(of) {
            writeln!(text, "| {columns} | {to} | {on_delete} |")?;
        }
    }
    writeln!(text, "\n| functions look up by | index |\n| --- | --- |")?;
    for path in entity.paths {
        let (columns, index) = (columns_of(entity, path), index_of(entity, path));
        writeln!(text, "| {columns} | {index} |")?;
    }
    Ok(())
}

fn sql_type(column: &Column) -> String {
    match column.ty {
        ColumnType::Key => "uuid, the key domain".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Int4 => "integer".to_owned(),
        ColumnType::Int8 => "bigint".to_owned(),
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::Timestamptz => "timestamptz".to_owned(),
        ColumnType::Jsonb => "jsonb".to_owned(),
        ColumnType::Float4 => "real".to_owned(),
        ColumnType::Bytea => "bytea".to_owned(),
        ColumnType::TextArray => "text[]".to_owned(),
        ColumnType::UuidArray => "uuid[]".to_owned(),
        ColumnType::Vector => "vector".to_owned(),
        ColumnType::Enum(name) => format!("`{name}`"),
    }
}

const fn how(change: Change) -> &'static str {
    match change {
        Change::Free => "freely",
        Change::Fixed => "never",
        Change::State => "along the states' arrows",
        Change::Counter => "never falls; without version",
        Change::Fence => "never falls (55006); without version",
        Change::Touch => "freely; without version",
        Change::Reference => "freely; in a final state to null only",
        Change::Link => "from null to a value or back",
        Change::Metadata => "freely, in a final state too",
        Change::Version => "by one with each change; assigned",
        Change::UpdatedAt => "with each change; assigned",
    }
}

fn columns_of(entity: &Entity, path: &Path) -> String {
    let column = |&position: &usize| {
        let falling = if path.descending.contains(&position) { " DESC" } else { "" };
        format!("{}{falling}", entity.columns[position].name)
    };
    path.columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn index_of(entity: &Entity, path: &Path) -> String {
    let kind = match path.method {
        Method::Btree => "B-tree",
        Method::Gin => "GIN",
        Method::Hnsw => "HNSW, cosine distance",
    };
    let name = |position: usize| entity.columns[position].name;
    match path.partial {
        Partial::Full => kind.to_owned(),
        Partial::True(column) => format!("{kind} where {}", name(column)),
        Partial::In(column, labels) => {
            format!("{kind} where {} is {}", name(column), labels.join(" or "))
        }
    }
}

/// The foreign keys of the DDL, in the order of the files.
fn references() -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    for statement in ddl::statements(&TARGET)? {
        let Object::Constraint { table, .. } = statement.object else { continue };
        let Some((_, key)) = statement.sql.split_once("FOREIGN KEY (") else { continue };
        let (columns, rest) = key.split_once(')').context("a foreign key without columns")?;
        let (_, rest) = rest.split_once("REFERENCES ").context("a foreign key to nothing")?;
        let to = rest.split_whitespace().next().context("a foreign key to nothing")?;
        let to = to.rsplit('.').next().unwrap_or(to);
        let on_delete = match rest.split_once("ON DELETE ") {
            Some((_, action)) => action.trim().to_lowercase(),
            None => "refused".to_owned(),
        };
        let entity = |table: &str| {
            ENTITIES.iter().find(|e| e.table == table).map(|e| e.name).context("an unknown table")
        };
        references.push(Reference {
            from: entity(table)?,
            columns: columns.to_owned(),
            to: entity(to)?.to_owned(),
            on_delete,
        });
    }
    Ok(references)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_file_is_what_the_definitions_say() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let there = fs::read_to_string(file(&root)).unwrap_or_default();
        assert!(there == dependency_graph().unwrap(), "run `cargo xtask docs` and commit the file");
    }

    #[test]
    fn every_foreign_key_is_read() {
        let keys = ddl::statements(&TARGET).unwrap();
        let keys = keys.iter().filter(|s| s.sql.contains("FOREIGN KEY")).count();
        assert_eq!(references().unwrap().len(), keys);
        assert!(keys > 20);
    }
}
