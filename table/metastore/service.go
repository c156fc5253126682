package metastore

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beltran/gohive/gohivemeta/fb303"
	hms "github.com/beltran/gohive/hive_metastore"
)

// served are the calls that service has, by their names in hive_metastore.thrift and fb303.thrift.
var served = set(
	"getName", "getVersion", "getStatus", "aliveSince", "getMetaConf", "get_config_value", "set_ugi", "flushCache",
	"get_catalogs", "get_catalog",
	"create_database", "get_database", "get_database_req", "get_databases", "get_all_databases", "alter_database", "drop_database",
	"create_table", "create_table_with_environment_context", "create_table_req",
	"get_table", "get_table_req", "get_table_objects_by_name", "get_table_objects_by_name_req", "get_table_meta",
	"get_tables", "get_tables_by_type", "get_table_names_by_filter", "get_all_tables",
	"get_fields", "get_fields_with_environment_context", "get_schema", "get_schema_with_environment_context",
	"alter_table", "alter_table_with_environment_context", "alter_table_with_cascade", "alter_table_req",
	"drop_table", "drop_table_with_environment_context",
	"add_partition", "add_partition_with_environment_context", "add_partitions", "add_partitions_req",
	"append_partition", "append_partition_with_environment_context",
	"get_partition", "get_partition_with_auth", "get_partition_by_name",
	"get_partitions", "get_partitions_with_auth", "get_partitions_ps", "get_partitions_ps_with_auth",
	"get_partition_names", "get_partition_names_ps", "get_partitions_by_filter", "get_num_partitions_by_filter",
	"get_partitions_by_expr", "get_partitions_by_names", "get_partitions_by_names_req",
	"alter_partition", "alter_partition_with_environment_context", "alter_partitions", "alter_partitions_with_environment_context",
	"alter_partitions_req", "rename_partition",
	"drop_partition", "drop_partition_with_environment_context", "drop_partition_by_name", "drop_partition_by_name_with_environment_context",
	"drop_partitions_req", "partition_name_to_vals", "partition_name_to_spec",
	"get_functions", "get_function", "get_all_functions",
	"get_table_column_statistics", "get_table_statistics_req", "get_partition_column_statistics", "get_partitions_statistics_req", "get_aggr_stats_for",
	"update_table_column_statistics", "update_table_column_statistics_req", "update_partition_column_statistics", "update_partition_column_statistics_req",
	"set_aggr_stats_for", "delete_table_column_statistics", "delete_partition_column_statistics",
	"lock", "check_lock", "unlock", "heartbeat", "show_locks",
	"get_fields_req", "get_schema_req", "get_partition_req", "get_partitions_req", "get_partitions_ps_with_auth_req", "get_partition_names_ps_req",
	"get_partition_names_req", "rename_partition_req", "get_partitions_pspec", "get_part_specs_by_filter", "get_partitions_spec_by_expr",
	"append_partition_by_name", "append_partition_by_name_with_environment_context", "partition_name_has_valid_characters",
	"get_primary_keys", "get_foreign_keys", "get_unique_constraints", "get_not_null_constraints", "get_default_constraints", "get_check_constraints",
	"get_all_table_constraints", "get_current_notificationEventId", "get_next_notification", "get_notification_events_count", "fire_listener_event",
	"get_all_token_identifiers", "get_master_keys", "get_delegation_token", "list_roles", "get_role_names", "get_principals_in_role",
	"get_role_grants_for_principal", "get_privilege_set", "list_privileges",
	"get_all_materialized_view_objects_for_rewriting", "get_materialized_views_for_rewriting", "get_runtime_stats",
)

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// service answers the calls. The interface inside is nil: what served does not name never gets here.
type service struct {
	hms.ThriftHiveMetastore
	objects *objects
	log     *slog.Logger
	started time.Time
	lists   chan struct{} // has as many as there are lists of partitions in memory
}

func (s *service) GetName(context.Context) (string, error)    { return "headwater", nil }
func (s *service) GetVersion(context.Context) (string, error) { return "3.0", nil } // as Hive says it
func (s *service) GetStatus(context.Context) (fb303.FbStatus, error) {
	return fb303.FbStatus_ALIVE, nil
}

func (s *service) AliveSince(context.Context) (int64, error) { return s.started.Unix(), nil }
func (s *service) FlushCache(context.Context) error          { return nil }

func (s *service) GetMetaConf(context.Context, string) (string, error) { return "", nil }

// GetConfigValue knows no settings: everything is at the caller's default.
func (s *service) GetConfigValue(_ context.Context, _, fallback string) (string, error) {
	return fallback, nil
}

// SetUgi takes the user for whom it says it is, as a metastore without Kerberos does.
func (s *service) SetUgi(_ context.Context, user string, groups []string) ([]string, error) {
	return append(slices.Clone(groups), user), nil
}

func (s *service) GetCatalogs(context.Context) (*hms.GetCatalogsResponse, error) {
	return &hms.GetCatalogsResponse{Names: []string{"hive"}}, nil
}

func (s *service) GetCatalog(ctx context.Context, r *hms.GetCatalogRequest) (*hms.GetCatalogResponse, error) {
	if r.Name != "hive" {
		return nil, missing("No catalog %s", r.Name)
	}
	d, err := s.GetDatabase(ctx, "default")
	if err != nil {
		return nil, err
	}
	return &hms.GetCatalogResponse{Catalog: &hms.Catalog{Name: "hive", LocationUri: d.LocationUri}}, nil
}

func now() int32 { return int32(time.Now().Unix()) } // Hive's own type, until 2038

func (s *service) CreateDatabase(ctx context.Context, d *hms.Database) error {
	if d == nil {
		return invalid("no database")
	}
	d.Name = normal(d.Name)
	d.CreateTime = new(now())
	if d.Parameters == nil {
		d.Parameters = map[string]string{}
	}
	return s.objects.do(ctx, func(tx transaction) error {
		if d.LocationUri == "" {
			warehouse, err := tx.database("default")
			if err != nil {
				return err
			}
			d.LocationUri = strings.TrimSuffix(warehouse.LocationUri, "/") + "/" + d.Name + ".db"
		}
		return tx.createDatabase(d)
	})
}

func (s *service) GetDatabase(ctx context.Context, name string) (d *hms.Database, err error) {
	err = s.objects.look(ctx, func(tx transaction) error {
		d, err = tx.database(normal(name))
		return err
	})
	return d, err
}

func (s *service) GetDatabaseReq(ctx context.Context, r *hms.GetDatabaseRequest) (*hms.Database, error) {
	return s.GetDatabase(ctx, r.GetName())
}

func (s *service) GetDatabases(ctx context.Context, pattern string) (names []string, err error) {
	match, err := matcher(pattern)
	if err != nil {
		return nil, err
	}
	err = s.objects.look(ctx, func(tx transaction) error {
		names, err = tx.databases()
		return err
	})
	return matching(names, match), err
}

func matching(names []string, match func(string) bool) []string {
	return slices.DeleteFunc(names, func(n string) bool { return !match(n) })
}

func (s *service) GetAllDatabases(ctx context.Context) ([]string, error) {
	return s.GetDatabases(ctx, "*")
}

func (s *service) AlterDatabase(ctx context.Context, name string, d *hms.Database) error {
	if d == nil || normal(d.Name) != normal(name) {
		return meta("a database cannot be renamed")
	}
	d.Name = normal(name)
	return s.objects.do(ctx, func(tx transaction) error { return tx.alterDatabase(d) })
}

func (s *service) DropDatabase(ctx context.Context, name string, deleteData, cascade bool) error {
	name = normal(name)
	if name == "default" {
		return meta("Can not drop default database")
	}
	return s.objects.do(ctx, func(tx transaction) error {
		if _, err := tx.database(name); err != nil {
			return err
		}
		tables, err := tx.tables(name)
		if err != nil {
			return err
		}
		if len(tables) > 0 && !cascade {
			return refused("Database %s is not empty. One or more tables exist.", name)
		}
		for _, t := range tables {
			tbl, err := tx.table(name, t)
			if err != nil {
				return err
			}
			s.mentionFiles(tbl, deleteData)
		}
		return tx.dropDatabase(name)
	})
}

// mentionFiles says which files a drop leaves that another metastore would have deleted.
func (s *service) mentionFiles(t *hms.Table, deleteData bool) {
	if deleteData && t.TableType == "MANAGED_TABLE" && t.Parameters["EXTERNAL"] != "TRUE" {
		s.log.Warn("a managed table was dropped; its files are not deleted", "table", t.DbName+"."+t.TableName, "location", t.GetSd().GetLocation())
	}
}

func (s *service) CreateTable(ctx context.Context, t *hms.Table) error {
	if t == nil || t.Sd == nil {
		return invalid("a table needs a storage descriptor")
	}
	t.DbName, t.TableName, t.CatName = normal(t.DbName), normal(t.TableName), nil
	if !identifier(t.TableName) {
		return invalid("%q is not a valid table name", t.TableName)
	}
	if strings.EqualFold(t.Parameters["transactional"], "true") {
		return invalid("transactional (ACID) tables are not served: create %s as an external table, or without transactional=true", t.TableName)
	}
	if t.TableType == "" {
		t.TableType = "MANAGED_TABLE"
	}
	t.CreateTime = now()
	touch(t)
	return s.objects.do(ctx, func(tx transaction) error {
		d, err := tx.database(t.DbName)
		if err != nil {
			return err
		}
		if t.Sd.Location == "" && t.TableType != "VIRTUAL_VIEW" {
			t.Sd.Location = strings.TrimSuffix(d.LocationUri, "/") + "/" + t.TableName
		}
		return tx.createTable(t)
	})
}

// touch notes the time of a change where Hive does.
func touch(t *hms.Table) {
	if t.Parameters == nil {
		t.Parameters = map[string]string{}
	}
	t.Parameters["transient_lastDdlTime"] = strconv.Itoa(int(now()))
}

func (s *service) CreateTableWithEnvironmentContext(ctx context.Context, t *hms.Table, _ *hms.EnvironmentContext) error {
	return s.CreateTable(ctx, t)
}

func (s *service) CreateTableReq(ctx context.Context, r *hms.CreateTableRequest) error {
	if len(r.PrimaryKeys)+len(r.ForeignKeys)+len(r.UniqueConstraints)+len(r.NotNullConstraints)+len(r.DefaultConstraints)+len(r.CheckConstraints) > 0 {
		return invalid("constraints are not kept: create the table without")
	}
	return s.CreateTable(ctx, r.GetTable())
}

func (s *service) GetTable(ctx context.Context, database, name string) (t *hms.Table, err error) {
	err = s.objects.look(ctx, func(tx transaction) error {
		t, err = tx.table(normal(database), normal(name))
		return err
	})
	return t, err
}

func (s *service) GetTableReq(ctx context.Context, r *hms.GetTableRequest) (*hms.GetTableResult_, error) {
	t, err := s.GetTable(ctx, r.GetDbName(), r.GetTblName())
	if err != nil {
		return nil, err
	}
	return &hms.GetTableResult_{Table: t}, nil
}

// GetTableObjectsByName leaves out the tables that are not there; of a database that is not there it returns none.
func (s *service) GetTableObjectsByName(ctx context.Context, database string, names []string) ([]*hms.Table, error) {
	out := []*hms.Table{}
	err := s.objects.look(ctx, func(tx transaction) error {
		for _, n := range names {
			t, err := tx.table(normal(database), normal(n))
			if _, none := err.(*hms.NoSuchObjectException); none {
				continue
			}
			if err != nil {
				return err
			}
			out = append(out, t)
		}
		return nil
	})
	return out, err
}

func (s *service) GetTableObjectsByNameReq(ctx context.Context, r *hms.GetTablesRequest) (*hms.GetTablesResult_, error) {
	ts, err := s.GetTableObjectsByName(ctx, r.GetDbName(), r.GetTblNames())
	if err != nil {
		return nil, err
	}
	return &hms.GetTablesResult_{Tables: ts}, nil
}

// find returns the tables whose database, name and kind match, by name.
func (s *service) find(ctx context.Context, databases, names func(string) bool, kinds []string) ([]*hms.Table, error) {
	out := []*hms.Table{}
	err := s.objects.look(ctx, func(tx transaction) error {
		all, err := tx.databases()
		if err != nil {
			return err
		}
		for _, d := range matching(all, databases) {
			tables, err := tx.tables(d)
			if err != nil {
				return err
			}
			for _, n := range matching(tables, names) {
				t, err := tx.table(d, n)
				if err != nil {
					return err
				}
				if len(kinds) == 0 || slices.Contains(kinds, t.TableType) {
					out = append(out, t)
				}
			}
		}
		return nil
	})
	return out, err
}

func (s *service) GetTableMeta(ctx context.Context, databases, tables string, kinds []string) ([]*hms.TableMeta, error) {
	inDatabase, err := matcher(databases)
	if err != nil {
		return nil, err
	}
	named, err := matcher(tables)
	if err != nil {
		return nil, err
	}
	ts, err := s.find(ctx, inDatabase, named, kinds)
	out := []*hms.TableMeta{}
	for _, t := range ts {
		m := &hms.TableMeta{DbName: t.DbName, TableName: t.TableName, TableType: t.TableType}
		if c, found := t.Parameters["comment"]; found {
			m.Comments = &c
		}
		out = append(out, m)
	}
	return out, err
}

func (s *service) GetTables(ctx context.Context, database, pattern string) ([]string, error) {
	return s.GetTablesByType(ctx, database, pattern, "")
}

func (s *service) GetTablesByType(ctx context.Context, database, pattern, kind string) ([]string, error) {
	match, err := matcher(pattern)
	if err != nil {
		return nil, err
	}
	if kind == "" {
		var names []string
		err = s.objects.look(ctx, func(tx transaction) error {
			names, err = tx.tables(normal(database))
			return err
		})
		return matching(names, match), err
	}
	ts, err := s.find(ctx, func(d string) bool { return d == normal(database) }, match, []string{kind})
	out := []string{}
	for _, t := range ts {
		out = append(out, t.TableName)
	}
	return out, err
}

func (s *service) GetAllTables(ctx context.Context, database string) ([]string, error) {
	return s.GetTables(ctx, database, "*")
}

func (s *service) GetTableNamesByFilter(ctx context.Context, database, filter string, n int16) ([]string, error) {
	holds, err := parseTableFilter(filter)
	if err != nil {
		return nil, err
	}
	ts, err := s.find(ctx, func(d string) bool { return d == normal(database) }, func(string) bool { return true }, nil)
	out := []string{}
	for _, t := range ts {
		if holds(t) {
			out = append(out, t.TableName)
		}
	}
	return limited(out, int(n)), err
}

func (s *service) GetFields(ctx context.Context, database, name string) ([]*hms.FieldSchema, error) {
	t, err := s.tableOrUnknown(ctx, database, name)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]*hms.FieldSchema{}, t.Sd.Cols), nil
}

// tableOrUnknown is GetTable for calls that say UnknownTableException.
func (s *service) tableOrUnknown(ctx context.Context, database, name string) (*hms.Table, error) {
	t, err := s.GetTable(ctx, database, name)
	if n, none := err.(*hms.NoSuchObjectException); none {
		return nil, &hms.UnknownTableException{Message: n.Message}
	}
	return t, err
}

func (s *service) GetFieldsWithEnvironmentContext(ctx context.Context, database, name string, _ *hms.EnvironmentContext) ([]*hms.FieldSchema, error) {
	return s.GetFields(ctx, database, name)
}

// GetSchema is GetFields with the partition columns.
func (s *service) GetSchema(ctx context.Context, database, name string) ([]*hms.FieldSchema, error) {
	t, err := s.tableOrUnknown(ctx, database, name)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]*hms.FieldSchema{}, t.Sd.Cols, t.PartitionKeys), nil
}

func (s *service) GetSchemaWithEnvironmentContext(ctx context.Context, database, name string, _ *hms.EnvironmentContext) ([]*hms.FieldSchema, error) {
	return s.GetSchema(ctx, database, name)
}

func (s *service) AlterTable(ctx context.Context, database, name string, t *hms.Table) error {
	return s.AlterTableWithEnvironmentContext(ctx, database, name, t, nil)
}

// AlterTableWithEnvironmentContext changes the table only if the parameter that the context's expected_parameter_key names has the
// value of its expected_parameter_value, if it has these, as Hive 4 does (HIVE-26882); the message is that which clients look for.
func (s *service) AlterTableWithEnvironmentContext(ctx context.Context, database, name string, t *hms.Table, env *hms.EnvironmentContext) error {
	return s.alterTable(ctx, database, name, t, env, false)
}

func (s *service) AlterTableWithCascade(ctx context.Context, database, name string, t *hms.Table, cascade bool) error {
	return s.alterTable(ctx, database, name, t, nil, cascade)
}

func (s *service) AlterTableReq(ctx context.Context, r *hms.AlterTableRequest) (*hms.AlterTableResponse, error) {
	return &hms.AlterTableResponse{}, s.AlterTableWithEnvironmentContext(ctx, r.GetDbName(), r.GetTableName(), r.GetTable(), r.GetEnvironmentContext())
}

// alterTable changes the columns of the partitions too, if cascade is set.
func (s *service) alterTable(ctx context.Context, database, name string, t *hms.Table, env *hms.EnvironmentContext, cascade bool) error {
	if t == nil || t.Sd == nil {
		return refused("a table needs a storage descriptor")
	}
	database, name = normal(database), normal(name)
	t.DbName, t.TableName, t.CatName = normal(t.DbName), normal(t.TableName), nil
	if !identifier(t.TableName) {
		return refused("%q is not a valid table name", t.TableName)
	}
	touch(t)
	var properties map[string]string
	if env != nil {
		properties = env.Properties
	}
	cascade = cascade || properties["CASCADE"] == "true"
	return s.objects.do(ctx, func(tx transaction) error {
		old, err := tx.table(database, name)
		if n, none := err.(*hms.NoSuchObjectException); none {
			return refused("%s", n.Message)
		}
		if err != nil {
			return err
		}
		if err := expected(old, properties); err != nil {
			return err
		}
		if !slices.EqualFunc(old.PartitionKeys, t.PartitionKeys, func(a, b *hms.FieldSchema) bool {
			return strings.EqualFold(a.Name, b.Name) && a.Type == b.Type
		}) {
			return refused("partition keys can not be changed.")
		}
		if movesFiles(old, t) {
			return refused("%s.%s is a managed table whose files would have to move with its name, and this metastore touches no files: make it external first", database, name)
		}
		if t.CreateTime == 0 {
			t.CreateTime = old.CreateTime
		}
		if t.Sd.Location == "" {
			t.Sd.Location = old.Sd.Location
		}
		if err := tx.alterTable(database, name, t); err != nil || !cascade {
			return err
		}
		return tx.alterColumns(t)
	})
}

// movesFiles reports whether a rename takes for granted that the files of a managed table go where the new name says, as Spark's does: it writes
// down their new place beforehand. Hive's leaves the place to the metastore, for which they stay where they are.
func movesFiles(old, t *hms.Table) bool {
	renamed := old.DbName != t.DbName || old.TableName != t.TableName
	return renamed && old.TableType == "MANAGED_TABLE" && serdePath(old) != serdePath(t)
}

func serdePath(t *hms.Table) string {
	if t.Sd.SerdeInfo == nil {
		return ""
	}
	return t.Sd.SerdeInfo.Parameters["path"]
}

func expected(t *hms.Table, properties map[string]string) error {
	key, found := properties["expected_parameter_key"]
	if !found {
		return nil
	}
	if is, want := t.Parameters[key], properties["expected_parameter_value"]; is != want {
		return meta("The table has been modified. The parameter value for key '%s' is '%s'. The expected was value was '%s'", key, is, want)
	}
	return nil
}

func (s *service) DropTable(ctx context.Context, database, name string, deleteData bool) error {
	database, name = normal(database), normal(name)
	return s.objects.do(ctx, func(tx transaction) error {
		t, err := tx.table(database, name)
		if err != nil {
			return err
		}
		s.mentionFiles(t, deleteData)
		return tx.dropTable(database, name)
	})
}

func (s *service) DropTableWithEnvironmentContext(ctx context.Context, database, name string, deleteData bool, _ *hms.EnvironmentContext) error {
	return s.DropTable(ctx, database, name, deleteData)
}

// There are no functions: those that are built into the clients need no metastore.

func (s *service) GetFunctions(context.Context, string, string) ([]string, error) {
	return []string{}, nil
}

func (s *service) GetFunction(_ context.Context, database, name string) (*hms.Function, error) {
	return nil, missing("Function %s.%s does not exist", normal(database), name)
}

func (s *service) GetAllFunctions(context.Context) (*hms.GetAllFunctionsResponse, error) {
	return &hms.GetAllFunctionsResponse{Functions: []*hms.Function{}}, nil
}

// copyOf is a storage descriptor that shares nothing that a caller changes.
func copyOf(sd *hms.StorageDescriptor) *hms.StorageDescriptor {
	c := *sd
	c.Parameters = maps.Clone(sd.Parameters)
	return &c
}
