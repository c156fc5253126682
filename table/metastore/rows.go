package metastore

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"slices"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"
)

// maxAnswer bounds what of an answer's partitions is in memory: the bytes that are stored of them.
const maxAnswer = 256 << 20

// split is what is stored of a partition: its bytes without columns, and the digest of these, which are stored once.
func (t transaction) split(tbl *hms.Table, p *hms.Partition) (data []byte, digest string, err error) {
	columns, err := t.encode(&hms.Schema{FieldSchemas: p.Sd.Cols})
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(columns)
	digest = hex.EncodeToString(sum[:16])
	if key := keyOf(tbl, digest); t.columns[key] == nil {
		if _, err := t.exec(`INSERT INTO hive_columns VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, tbl.DbName, tbl.TableName, digest, columns); err != nil {
			return nil, "", err
		}
		t.columns[key] = p.Sd.Cols
	}
	bare, sd := *p, *p.Sd
	bare.Sd, sd.Cols = &sd, nil
	data, err = t.encode(&bare)
	return data, digest, err
}

func keyOf(tbl *hms.Table, digest string) string {
	return tbl.DbName + "." + tbl.TableName + "#" + digest
}

// join undoes split.
func (t transaction) join(tbl *hms.Table, data []byte, digest string) (*hms.Partition, error) {
	p := hms.NewPartition()
	if err := t.decode(p, data); err != nil {
		return nil, err
	}
	p.DbName, p.TableName = tbl.DbName, tbl.TableName // the table may have been renamed
	if digest != "" {                                 // else an older version stored it, with its columns
		p.Sd.Cols = t.columns[keyOf(tbl, digest)]
	}
	return p, nil
}

// learn reads the columns that partitions of the table have.
func (t transaction) learn(tbl *hms.Table) error {
	return t.each(`SELECT digest, object FROM hive_columns WHERE database = ? AND "table" = ?`, []any{tbl.DbName, tbl.TableName}, func(scan scanner) error {
		var digest string
		var data sql.RawBytes
		if err := scan(&digest, &data); err != nil {
			return meta("%v", err)
		}
		s := hms.NewSchema()
		err := t.decode(s, data)
		t.columns[keyOf(tbl, digest)] = s.FieldSchemas
		return err
	})
}

// addPartition reports whether there was none of the same values.
func (t transaction) addPartition(tbl *hms.Table, p *hms.Partition) (bool, error) {
	data, digest, err := t.split(tbl, p)
	if err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO hive_partitions (database, "table", name, object, columns) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		tbl.DbName, tbl.TableName, partitionName(tbl, p.Values), data, digest)
	return n > 0, err
}

// alterPartition puts p in the place of the partition of the given name.
func (t transaction) alterPartition(tbl *hms.Table, name string, p *hms.Partition) error {
	data, digest, err := t.split(tbl, p)
	if err != nil {
		return err
	}
	to := partitionName(tbl, p.Values)
	n, err := t.exec(`UPDATE hive_partitions SET name = ?, object = ?, columns = ? WHERE database = ? AND "table" = ? AND name = ?`,
		to, data, digest, tbl.DbName, tbl.TableName, name)
	if err == nil && n == 0 {
		err = refused("alter is not possible: there is no partition %s of %s.%s", name, tbl.DbName, tbl.TableName)
	}
	if err == nil && to != name {
		_, err = t.exec(`UPDATE hive_statistics SET partition = ? WHERE database = ? AND "table" = ? AND partition = ?`, to, tbl.DbName, tbl.TableName, name)
	}
	return err
}

// alterColumns gives all partitions of the table its columns.
func (t transaction) alterColumns(tbl *hms.Table) error {
	_, digest, err := t.split(tbl, &hms.Partition{Sd: tbl.Sd})
	if err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE hive_partitions SET columns = ? WHERE database = ? AND "table" = ?`, digest, tbl.DbName, tbl.TableName); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM hive_columns WHERE database = ? AND "table" = ? AND digest <> ?`, tbl.DbName, tbl.TableName, digest)
	return err
}

// partition is nil if there is none of that name.
func (t transaction) partition(tbl *hms.Table, name string) (*hms.Partition, error) {
	ps, err := t.partitions(tbl, []string{name})
	if err != nil || len(ps) == 0 {
		return nil, err
	}
	return ps[0], nil
}

// perQuery are how many names a query has at most.
const perQuery = 500

// partitions are those of the names, which are in order, or all if names is nil, by name. Names that are not there are left out.
func (t transaction) partitions(tbl *hms.Table, names []string) ([]*hms.Partition, error) {
	out := []*hms.Partition{}
	if err := t.learn(tbl); err != nil {
		return nil, err
	}
	size := 0
	add := func(scan scanner) error {
		var digest string
		var data sql.RawBytes
		if err := scan(&data, &digest); err != nil {
			return meta("%v", err)
		}
		if size += len(data); size > maxAnswer {
			return meta("the partitions of %s.%s that are asked for are more than %d MiB; ask for fewer, by a filter or by their names", tbl.DbName, tbl.TableName, maxAnswer>>20)
		}
		p, err := t.join(tbl, data, digest)
		out = append(out, p)
		return err
	}
	const query = `SELECT object, columns FROM hive_partitions WHERE database = ? AND "table" = ?`
	if names == nil {
		err := t.each(query+` ORDER BY name`, []any{tbl.DbName, tbl.TableName}, add)
		return out, err
	}
	for some := range slices.Chunk(names, perQuery) {
		args := []any{tbl.DbName, tbl.TableName}
		for _, n := range some {
			args = append(args, n)
		}
		if err := t.each(query+` AND name IN (?`+strings.Repeat(", ?", len(some)-1)+`) ORDER BY name`, args, add); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t transaction) partitionNames(tbl *hms.Table) ([]string, error) {
	return t.names(`SELECT name FROM hive_partitions WHERE database = ? AND "table" = ? ORDER BY name`, tbl.DbName, tbl.TableName)
}

func (t transaction) dropPartition(tbl *hms.Table, name string) error {
	for _, statement := range []string{
		`DELETE FROM hive_statistics WHERE database = ? AND "table" = ? AND partition = ?`,
		`DELETE FROM hive_partitions WHERE database = ? AND "table" = ? AND name = ?`,
	} {
		if _, err := t.exec(statement, tbl.DbName, tbl.TableName, name); err != nil {
			return err
		}
	}
	return nil
}
