//! Columns of the lake's tables as Iceberg has them, how tables are partitioned, and how files find their columns.
//!
//! * Files carry no field ids: columns are found by name (`schema.name-mapping.default`). Those of years ago have none
//!   either, their bytes are promised, and a table should have one way for all of them.
//! * Every column may be null: those that a later version of the schema adds are null in older files.
//! * Partitions are identity(exchange) and hour(ts_recv). No file has a column `exchange`, it is a word of their path, and the format
//!   says that readers take a column that a file lacks from its partition: DuckDB, Polars, pyiceberg and ClickHouse do. The column
//!   `venue` of schema version 2 is no such source: nothing fills it yet, and of a null in a file beside a value of its
//!   partition the first three read the null and ClickHouse the value.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use iceberg::TableUpdate;
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, Literal, MappedField, NameMapping, NestedField, PartitionSpec, PrimitiveType, Schema,
    Struct, TableMetadata, Transform, Type, UnboundPartitionField, UnboundPartitionSpec,
};
use lake::{Hour, Numeric, SchemaVersion, Table};

use crate::error::CommitterError;
use crate::hours;

/// The column of the venue, which no file has: every reader takes it from the partition.
pub const EXCHANGE: &str = "exchange";

/// Which table of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One of the lake's.
    Lake(Table),
    /// The account of what is committed, see [`hours`].
    Hours,
}

impl Target {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Target> {
        Table::ALL.iter().copied().map(Target::Lake).chain([Target::Hours])
    }

    /// Its name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lake(table) => table.as_str(),
            Self::Hours => "hours",
        }
    }

    /// Its columns: [`EXCHANGE`], and those that files of the newest version have.
    pub fn columns(self, numeric: Numeric) -> Arc<ArrowSchema> {
        match self {
            Self::Lake(table) => {
                let exchange = [Arc::new(Field::new(EXCHANGE, DataType::Utf8, true))];
                let files = table.schema(numeric, SchemaVersion::NEWEST);
                Arc::new(ArrowSchema::new(exchange.iter().chain(files.fields()).cloned().collect::<Vec<_>>()))
            }
            Self::Hours => hours::columns(),
        }
    }

    /// The schema of a table that is made now.
    ///
    /// # Errors
    /// Never for the lake's own types.
    pub fn schema(self, numeric: Numeric) -> Result<Schema, CommitterError> {
        let columns = self.columns(numeric);
        let mut fields = Vec::new();
        for (id, field) in (1..).zip(columns.fields()) {
            fields.push(Arc::new(NestedField::optional(id, field.name(), iceberg_type(field.data_type())?)));
        }
        Schema::builder()
            .with_fields(fields)
            .build()
            .map_err(CommitterError::iceberg(format!("schema of {}", self.name())))
    }

    /// The partitions of a table that is made now.
    ///
    /// # Errors
    /// When `schema` lacks their columns.
    pub fn partitions(self, schema: &Schema) -> Result<UnboundPartitionSpec, CommitterError> {
        let of = |column: &str, name: &str, transform| {
            let missing = || CommitterError::unfit(format!("{} has no column {column}", self.name()));
            let source_id = schema.field_id_by_name(column).ok_or_else(missing)?;
            let field = UnboundPartitionField::builder().source_id(source_id).name(name.to_owned());
            Ok::<_, CommitterError>(field.transform(transform).build())
        };
        let fields = match self {
            Self::Lake(_) => {
                vec![of(EXCHANGE, EXCHANGE, Transform::Identity)?, of("ts_recv", "ts_recv_hour", Transform::Hour)?]
            }
            Self::Hours => Vec::new(),
        };
        let made = UnboundPartitionSpec::builder().with_spec_id(0).add_partition_fields(fields);
        Ok(made.map_err(CommitterError::iceberg("partitions"))?.build())
    }
}

/// Properties of a table that is made now.
///
/// # Errors
/// When the mapping of names cannot be written.
pub fn properties(target: Target, schema: &Schema) -> Result<BTreeMap<String, String>, CommitterError> {
    let property = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Ok(BTreeMap::from([
        property("format-version", "2"),
        (DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), name_mapping(target, schema)?),
        // Data files are the lake's: engines that expire snapshots or drop the table must not delete them.
        property("gc.enabled", "false"),
        property("write.metadata.delete-after-commit.enabled", "true"),
        property("write.metadata.previous-versions-max", "100"),
        property("tapedeck.committer", env!("CARGO_PKG_VERSION")),
    ]))
}

/// Every column of files by its name.
fn name_mapping(target: Target, schema: &Schema) -> Result<String, CommitterError> {
    let of_partition = |name: &str| name == EXCHANGE && target != Target::Hours;
    let fields = schema.as_struct().fields().iter().filter(|f| !of_partition(&f.name));
    let mapped = fields.map(|f| MappedField::new(Some(f.id), vec![f.name.clone()], Vec::new())).collect();
    let mapping = serde_json::to_string(&NameMapping::new(mapped));
    mapping.map_err(|err| CommitterError::unfit(format!("write a mapping of names: {err}")))
}

/// What a table that was made by an earlier version lacks: columns, at its end, and their names. Nothing if it lacks none.
///
/// # Errors
/// When a column has another type than the lake's.
pub fn evolution(
    target: Target,
    numeric: Numeric,
    metadata: &TableMetadata,
) -> Result<Vec<TableUpdate>, CommitterError> {
    let current = metadata.current_schema();
    let (mut fields, mut next) = (current.as_struct().fields().to_vec(), metadata.last_column_id());
    for column in target.columns(numeric).fields() {
        let want = iceberg_type(column.data_type())?;
        match current.field_by_name(column.name()) {
            Some(have) if *have.field_type == want => {}
            Some(have) => {
                return Err(CommitterError::unfit(format!(
                    "column {} of table {} is {} in the catalog, and {want} in files of [lake] numeric = \"{numeric}\": give \
                     lakes of different numbers a [catalog] namespace each",
                    column.name(),
                    target.name(),
                    have.field_type,
                )));
            }
            None => {
                next = next.saturating_add(1);
                fields.push(Arc::new(NestedField::optional(next, column.name(), want)));
            }
        }
    }
    if fields.len() == current.as_struct().fields().len() {
        return Ok(Vec::new());
    }
    let schema = Schema::builder().with_fields(fields).with_schema_id(current.schema_id().saturating_add(1)).build();
    let schema = schema.map_err(CommitterError::iceberg(format!("schema of {}", target.name())))?;
    let updates = [(DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), name_mapping(target, &schema)?)].into();
    Ok(vec![
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
        TableUpdate::SetProperties { updates },
    ])
}

/// The partition of a file of `venue` and `hour`.
///
/// # Errors
/// When the table is partitioned in a way that a part of the lake has no single value for.
pub fn partition(spec: &PartitionSpec, schema: &Schema, venue: &str, hour: Hour) -> Result<Struct, CommitterError> {
    let hours = i32::try_from(hour.0).map_err(|_| CommitterError::unfit(format!("{hour} is no hour of Iceberg")))?;
    let values = spec.fields().iter().map(|field| {
        let source = schema.name_by_field_id(field.source_id).unwrap_or_default();
        match (source, field.transform) {
            (EXCHANGE, Transform::Identity) => Ok(Some(Literal::string(venue))),
            ("ts_recv", Transform::Hour) => Ok(Some(Literal::int(hours))),
            ("ts_recv", Transform::Day) => Ok(Some(Literal::date(hours.div_euclid(24)))),
            (_, Transform::Void) => Ok(None),
            (source, transform) => Err(CommitterError::unfit(format!(
                "the table is partitioned by {transform}({source}), of which a part of the lake has no single value: \
                 partition it by exchange and hour(ts_recv)"
            ))),
        }
    });
    Ok(Struct::from_iter(values.collect::<Result<Vec<_>, _>>()?))
}

/// The position of the partition value that is the receive hour.
pub fn hour_field(spec: &PartitionSpec, schema: &Schema) -> Option<usize> {
    spec.fields().iter().position(|field| {
        field.transform == Transform::Hour && schema.name_by_field_id(field.source_id) == Some("ts_recv")
    })
}

fn iceberg_type(arrow: &DataType) -> Result<Type, CommitterError> {
    Ok(Type::Primitive(match arrow {
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Utf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Decimal128(precision, scale) => {
            let scale = u32::try_from(*scale).unwrap_or_default();
            PrimitiveType::Decimal { precision: u32::from(*precision), scale }
        }
        other => return Err(CommitterError::unfit(format!("columns of type {other} have none in Iceberg"))),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use iceberg::spec::{FormatVersion, SortOrder, TableMetadataBuilder};

    use super::*;

    fn made(fields: usize) -> TableMetadata {
        let whole = Target::Lake(Table::Trades).schema(Numeric::Double).unwrap();
        let some = whole.as_struct().fields().iter().take(fields).cloned();
        let schema = Schema::builder().with_fields(some).build().unwrap();
        let (spec, sort) = (UnboundPartitionSpec::builder().build(), SortOrder::unsorted_order());
        let builder =
            TableMetadataBuilder::new(schema, spec, sort, "s3://w/t".to_owned(), FormatVersion::V2, Default::default());
        builder.unwrap().build().unwrap().metadata
    }

    #[test]
    fn every_table_of_the_lake_has_a_schema_partitions_and_a_name_for_each_column() {
        for numeric in [Numeric::Double, Numeric::Decimal] {
            for target in Target::all() {
                let schema = target.schema(numeric).unwrap();
                let spec = target.partitions(&schema).unwrap();
                assert_eq!(spec.fields().len(), if target == Target::Hours { 0 } else { 2 }, "{}", target.name());
                let names = properties(target, &schema).unwrap()[DEFAULT_SCHEMA_NAME_MAPPING].clone();
                let mapping: NameMapping = serde_json::from_str(&names).unwrap();
                let columns = target.columns(numeric).fields().len() - usize::from(target != Target::Hours);
                assert_eq!(mapping.fields().len(), columns, "exchange is the partition's");
            }
        }
    }

    #[test]
    fn a_table_of_an_older_program_gets_the_columns_it_lacks_and_a_whole_one_gets_nothing() {
        let target = Target::Lake(Table::Trades);
        let all = target.columns(Numeric::Double).fields().len();
        assert!(evolution(target, Numeric::Double, &made(all)).unwrap().is_empty());
        let updates = evolution(target, Numeric::Double, &made(all - 2)).unwrap();
        let mut builder = made(all - 2).into_builder(None);
        for update in updates {
            builder = update.apply(builder).unwrap();
        }
        let after = builder.build().unwrap().metadata;
        assert!(evolution(target, Numeric::Double, &after).unwrap().is_empty());
        let mapping: NameMapping = serde_json::from_str(&after.properties()[DEFAULT_SCHEMA_NAME_MAPPING]).unwrap();
        assert_eq!(mapping.fields().len(), all - 1);
    }

    #[test]
    fn numbers_of_another_kind_are_refused_with_the_way_out() {
        let all = Target::Lake(Table::Trades).columns(Numeric::Double).fields().len();
        let err = evolution(Target::Lake(Table::Trades), Numeric::Decimal, &made(all)).unwrap_err().to_string();
        assert!(err.contains("column price") && err.contains("namespace"), "{err}");
    }

    #[test]
    fn a_partition_is_the_venue_and_the_hour_and_what_has_no_single_value_is_refused() {
        let target = Target::Lake(Table::Trades);
        let schema = Arc::new(target.schema(Numeric::Double).unwrap());
        let spec = target.partitions(&schema).unwrap().bind(schema.clone()).unwrap();
        let value = partition(&spec, &schema, "gate-spot", Hour(480_004)).unwrap();
        assert_eq!(value, Struct::from_iter([Some(Literal::string("gate-spot")), Some(Literal::int(480_004))]));
        assert_eq!(hour_field(&spec, &schema), Some(1));
        let by = |column: &str, transform| {
            let source_id = schema.field_id_by_name(column).unwrap();
            let field =
                UnboundPartitionField::builder().source_id(source_id).name("x".to_owned()).transform(transform).build();
            UnboundPartitionSpec::builder().add_partition_fields([field]).unwrap().build().bind(schema.clone()).unwrap()
        };
        let day = partition(&by("ts_recv", Transform::Day), &schema, "gate-spot", Hour(480_004)).unwrap();
        assert_eq!(day, Struct::from_iter([Some(Literal::date(20_000))]));
        let err = partition(&by("symbol", Transform::Identity), &schema, "gate-spot", Hour(1)).unwrap_err().to_string();
        assert!(err.contains("identity(symbol)") && err.contains("hour(ts_recv)"), "{err}");
    }
}
