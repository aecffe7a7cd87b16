//! The tables of a store, asked by SQL: here, or on a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::common::collect;
use datafusion::prelude::{ParquetReadOptions, SQLOptions, SessionContext};
use datafusion_proto::protobuf::PhysicalPlanNode;
use store::{Catalog, TableFile};

use crate::analysis::{Place, newest};
use crate::codec::Codec;
use crate::engine::Engine;
use crate::nodes::session;
use crate::plan::file_of;
use crate::task::below;

/// Bytes of files that one task of a scan reads, about (*assumed*: some seconds' work).
const SCANNED: u64 = 64 << 20;

/// A table of a store: the files of one kind of record that count.
#[derive(Debug)]
struct StoreTable {
    base: String,
    prefix: String,
    files: Vec<TableFile>,
    schema: TableSchema,
}

impl StoreTable {
    fn new(place: &Place, files: Vec<TableFile>) -> Self {
        let behind = vec![
            Arc::new(Field::new("day", DataType::Utf8, false)),
            Arc::new(Field::new("site", DataType::UInt16, false)),
        ];
        let columns = Arc::new(Schema::new(store::columns()));
        let schema = TableSchema::builder(columns).with_table_partition_cols(behind).build();
        Self { base: place.base.clone(), prefix: place.prefix.clone(), files, schema }
    }

    fn file(&self, f: &TableFile) -> Result<PartitionedFile> {
        let day = f.path.split('/').find_map(|part| part.strip_prefix("day=")).unwrap_or_default();
        let values = vec![ScalarValue::Utf8(Some(day.to_owned())), ScalarValue::UInt16(Some(f.site))];
        Ok(file_of(&self.prefix, f)?.with_partition_values(values))
    }
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = ParquetSource::new(self.schema.clone());
        if let Some(wanted) = conjunction(filters.to_vec()) {
            let columns = DFSchema::try_from(self.schema())?;
            source = source.with_predicate(state.create_physical_expr(wanted, &columns)?);
        }
        let bytes: u64 = self.files.iter().map(|f| f.bytes).sum();
        let groups = (bytes.div_ceil(SCANNED) as usize).clamp(1, self.files.len().max(1));
        let mut grouped = vec![Vec::new(); groups];
        for (at, f) in self.files.iter().enumerate() {
            grouped[at % groups].push(self.file(f)?);
        }
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(&self.base)?, Arc::new(source))
            .with_file_groups(grouped.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Asks a store: a table for each kind of record (`conn`, `dns`, `http` …), and `hosts` and `evidence` of its newest analysis, if it has one.
///
/// # Errors
/// The question is none that only reads, or it cannot be answered.
pub async fn ask(
    catalog: &Catalog,
    place: &Place,
    engine: &Engine,
    runtime: Arc<RuntimeEnv>,
    question: &str,
) -> anyhow::Result<Vec<RecordBatch>> {
    let context = SessionContext::new_with_config_rt(session(), runtime);
    let mut tables: BTreeMap<String, Vec<TableFile>> = BTreeMap::new();
    for file in catalog.files() {
        tables.entry(file.kind.clone()).or_default().push(file);
    }
    for (kind, files) in tables {
        context.register_table(kind.as_str(), Arc::new(StoreTable::new(place, files)))?;
    }
    if let Some(folder) = newest(place, catalog).await? {
        for table in ["hosts", "evidence"] {
            let path = below(&place.prefix, &format!("{folder}/{table}.parquet"))?;
            let path = format!("{}{path}", place.base);
            context.register_parquet(table, path, ParquetReadOptions::default()).await?;
        }
    }
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let asked = context.sql_with_options(question, reads).await?;
    let Engine::Cluster { at, .. } = engine else { return Ok(asked.collect().await?) };
    let plan = asked.create_physical_plan().await?;
    let (session, codec) = (session(), Codec::default());
    let (config, id) = (session.ballista_config(), uuid::Uuid::new_v4().to_string());
    let at = format!("http://{at}");
    let rows = execute_physical_plan::<PhysicalPlanNode>(at, &config, plan, &codec, id, session).await?;
    Ok(collect(rows).await?)
}
