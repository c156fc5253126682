package metastore

import (
	"context"

	hms "github.com/beltran/gohive/hive_metastore"
)

// What Hive 3 and 4 ask in other words, and what they ask of things that are not here.

func (s *service) GetFieldsReq(ctx context.Context, r *hms.GetFieldsRequest) (*hms.GetFieldsResponse, error) {
	fs, err := s.GetFields(ctx, r.GetDbName(), r.GetTblName())
	return &hms.GetFieldsResponse{Fields: fs}, err
}

func (s *service) GetSchemaReq(ctx context.Context, r *hms.GetSchemaRequest) (*hms.GetSchemaResponse, error) {
	fs, err := s.GetSchema(ctx, r.GetDbName(), r.GetTblName())
	return &hms.GetSchemaResponse{Fields: fs}, err
}

func (s *service) GetPartitionReq(ctx context.Context, r *hms.GetPartitionRequest) (*hms.GetPartitionResponse, error) {
	p, err := s.GetPartition(ctx, r.GetDbName(), r.GetTblName(), r.GetPartVals())
	return &hms.GetPartitionResponse{Partition: p}, err
}

func (s *service) GetPartitionsReq(ctx context.Context, r *hms.PartitionsRequest) (*hms.PartitionsResponse, error) {
	ps, err := s.GetPartitions(ctx, r.GetDbName(), r.GetTblName(), r.GetMaxParts())
	return &hms.PartitionsResponse{Partitions: ps}, err
}

func (s *service) GetPartitionsPsWithAuthReq(ctx context.Context, r *hms.GetPartitionsPsWithAuthRequest) (*hms.GetPartitionsPsWithAuthResponse, error) {
	ps, err := s.GetPartitionsPs(ctx, r.GetDbName(), r.GetTblName(), r.GetPartVals(), r.GetMaxParts())
	return &hms.GetPartitionsPsWithAuthResponse{Partitions: ps}, err
}

func (s *service) GetPartitionNamesPsReq(ctx context.Context, r *hms.GetPartitionNamesPsRequest) (*hms.GetPartitionNamesPsResponse, error) {
	names, err := s.GetPartitionNamesPs(ctx, r.GetDbName(), r.GetTblName(), r.GetPartValues(), r.GetMaxParts())
	return &hms.GetPartitionNamesPsResponse{Names: names}, err
}

// GetPartitionNamesReq cannot say that there may be too many: an expression that is not known is refused, and the client lists all.
func (s *service) GetPartitionNamesReq(ctx context.Context, r *hms.PartitionsByExprRequest) (out []string, err error) {
	err = s.ofTable(ctx, r.GetDbName(), r.GetTblName(), func(tx transaction, t *hms.Table) error {
		c, known := expression(r.GetExpr(), t)
		if !known && len(r.GetExpr()) > 0 {
			return meta("partitions can be asked for by a filter only: the expressions of Hive are serialized Java objects")
		}
		out, err = c.names(tx, t, int(r.GetMaxParts()))
		return err
	})
	return out, err
}

func (s *service) RenamePartitionReq(ctx context.Context, r *hms.RenamePartitionRequest) (*hms.RenamePartitionResponse, error) {
	return &hms.RenamePartitionResponse{}, s.RenamePartition(ctx, r.GetDbName(), r.GetTableName(), r.GetPartVals(), r.GetNewPart_())
}

func (s *service) GetPartitionsPspec(ctx context.Context, database, name string, n int32) ([]*hms.PartitionSpec, error) {
	ps, err := s.where(ctx, database, name, int(n), nil)
	return specs(database, name, ps), err
}

func (s *service) GetPartSpecsByFilter(ctx context.Context, database, name, filter string, n int32) ([]*hms.PartitionSpec, error) {
	ps, err := s.where(ctx, database, name, int(n), filtered(filter))
	return specs(database, name, ps), err
}

func (s *service) GetPartitionsSpecByExpr(ctx context.Context, r *hms.PartitionsByExprRequest) (*hms.PartitionsSpecByExprResult_, error) {
	all, err := s.GetPartitionsByExpr(ctx, r)
	return &hms.PartitionsSpecByExprResult_{PartitionsSpec: specs(r.DbName, r.TblName, all.Partitions), HasUnknownPartitions: all.HasUnknownPartitions}, err
}

// specs are the partitions as a list in which each says all of itself.
func specs(database, name string, ps []*hms.Partition) []*hms.PartitionSpec {
	return []*hms.PartitionSpec{{DbName: normal(database), TableName: normal(name), PartitionList: &hms.PartitionListComposingSpec{Partitions: ps}}}
}

func (s *service) AppendPartitionByName(ctx context.Context, database, name, partition string) (*hms.Partition, error) {
	_, values, err := parsePartitionName(partition)
	if err != nil {
		return nil, err
	}
	return s.AppendPartition(ctx, database, name, values)
}

func (s *service) AppendPartitionByNameWithEnvironmentContext(ctx context.Context, database, name, partition string, _ *hms.EnvironmentContext) (*hms.Partition, error) {
	return s.AppendPartitionByName(ctx, database, name, partition)
}

// PartitionNameHasValidCharacters: every value makes a name, with escapes.
func (s *service) PartitionNameHasValidCharacters(context.Context, []string, bool) (bool, error) {
	return true, nil
}

// There are no constraints.

func (s *service) GetPrimaryKeys(context.Context, *hms.PrimaryKeysRequest) (*hms.PrimaryKeysResponse, error) {
	return &hms.PrimaryKeysResponse{}, nil
}

func (s *service) GetForeignKeys(context.Context, *hms.ForeignKeysRequest) (*hms.ForeignKeysResponse, error) {
	return &hms.ForeignKeysResponse{}, nil
}

func (s *service) GetUniqueConstraints(context.Context, *hms.UniqueConstraintsRequest) (*hms.UniqueConstraintsResponse, error) {
	return &hms.UniqueConstraintsResponse{}, nil
}

func (s *service) GetNotNullConstraints(context.Context, *hms.NotNullConstraintsRequest) (*hms.NotNullConstraintsResponse, error) {
	return &hms.NotNullConstraintsResponse{}, nil
}

func (s *service) GetDefaultConstraints(context.Context, *hms.DefaultConstraintsRequest) (*hms.DefaultConstraintsResponse, error) {
	return &hms.DefaultConstraintsResponse{}, nil
}

func (s *service) GetCheckConstraints(context.Context, *hms.CheckConstraintsRequest) (*hms.CheckConstraintsResponse, error) {
	return &hms.CheckConstraintsResponse{}, nil
}

func (s *service) GetAllTableConstraints(context.Context, *hms.AllTableConstraintsRequest) (*hms.AllTableConstraintsResponse, error) {
	return &hms.AllTableConstraintsResponse{AllTableConstraints: hms.NewSQLAllTableConstraints()}, nil
}

// Nobody is told of changes: who asks finds that there were none.

func (s *service) GetCurrentNotificationEventId(context.Context) (*hms.CurrentNotificationEventId, error) {
	return &hms.CurrentNotificationEventId{}, nil
}

func (s *service) GetNextNotification(context.Context, *hms.NotificationEventRequest) (*hms.NotificationEventResponse, error) {
	return &hms.NotificationEventResponse{Events: []*hms.NotificationEvent{}}, nil
}

func (s *service) GetNotificationEventsCount(context.Context, *hms.NotificationEventsCountRequest) (*hms.NotificationEventsCountResponse, error) {
	return &hms.NotificationEventsCountResponse{}, nil
}

func (s *service) FireListenerEvent(context.Context, *hms.FireEventRequest) (*hms.FireEventResponse, error) {
	return &hms.FireEventResponse{}, nil
}

// There is no Kerberos, and nobody's role or privilege is kept: who gets here may do everything.

func (s *service) GetAllTokenIdentifiers(context.Context) ([]string, error) { return []string{}, nil }

func (s *service) GetMasterKeys(context.Context) ([]string, error) { return []string{}, nil }

func (s *service) GetRoleNames(context.Context) ([]string, error) { return []string{}, nil }

func (s *service) GetDelegationToken(context.Context, string, string) (string, error) {
	return "", meta("Delegation tokens are of Kerberos, which this metastore does not speak: set hive.metastore.sasl.enabled to false")
}

func (s *service) ListRoles(context.Context, string, hms.PrincipalType) ([]*hms.Role, error) {
	return []*hms.Role{}, nil
}

func (s *service) GetPrincipalsInRole(context.Context, *hms.GetPrincipalsInRoleRequest) (*hms.GetPrincipalsInRoleResponse, error) {
	return &hms.GetPrincipalsInRoleResponse{}, nil
}

func (s *service) GetRoleGrantsForPrincipal(context.Context, *hms.GetRoleGrantsForPrincipalRequest) (*hms.GetRoleGrantsForPrincipalResponse, error) {
	return &hms.GetRoleGrantsForPrincipalResponse{}, nil
}

func (s *service) GetPrivilegeSet(context.Context, *hms.HiveObjectRef, string, []string) (*hms.PrincipalPrivilegeSet, error) {
	return hms.NewPrincipalPrivilegeSet(), nil
}

func (s *service) ListPrivileges(context.Context, string, hms.PrincipalType, *hms.HiveObjectRef) ([]*hms.HiveObjectPrivilege, error) {
	return []*hms.HiveObjectPrivilege{}, nil
}

// There are no materialized views, and nothing is known of past queries.

func (s *service) GetAllMaterializedViewObjectsForRewriting(context.Context) ([]*hms.Table, error) {
	return []*hms.Table{}, nil
}

func (s *service) GetMaterializedViewsForRewriting(context.Context, string) ([]string, error) {
	return []string{}, nil
}

func (s *service) GetRuntimeStats(context.Context, *hms.GetRuntimeStatsRequest) ([]*hms.RuntimeStat, error) {
	return []*hms.RuntimeStat{}, nil
}
