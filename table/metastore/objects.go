package metastore

import (
	hms "github.com/beltran/gohive/hive_metastore"
)

func (t transaction) createDatabase(d *hms.Database) error {
	if !identifier(d.Name) {
		return invalid("%q is not a valid database name", d.Name)
	}
	data, err := t.encode(d)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO hive_databases VALUES (?, ?) ON CONFLICT DO NOTHING`, d.Name, data)
	if err == nil && n == 0 {
		err = exists("Database %s already exists", d.Name)
	}
	return err
}

func (t transaction) alterDatabase(d *hms.Database) error {
	data, err := t.encode(d)
	if err != nil {
		return err
	}
	n, err := t.exec(`UPDATE hive_databases SET object = ? WHERE name = ?`, data, d.Name)
	if err == nil && n == 0 {
		err = missing("There is no database named %s", d.Name)
	}
	return err
}

func (t transaction) database(name string) (*hms.Database, error) {
	d := hms.NewDatabase()
	found, err := t.object(d, `SELECT object FROM hive_databases WHERE name = ?`, name)
	if err == nil && !found {
		err = missing("There is no database named %s", name)
	}
	return d, err
}

func (t transaction) databases() ([]string, error) {
	return t.names(`SELECT name FROM hive_databases ORDER BY name`)
}

// dropDatabase drops the tables that it has too.
func (t transaction) dropDatabase(name string) error {
	for _, part := range append([]string{"hive_tables"}, parts...) {
		if _, err := t.exec(`DELETE FROM `+part+` WHERE database = ?`, name); err != nil {
			return err
		}
	}
	_, err := t.exec(`DELETE FROM hive_databases WHERE name = ?`, name)
	return err
}

func (t transaction) createTable(tbl *hms.Table) error {
	data, err := t.encode(tbl)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO hive_tables VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, tbl.DbName, tbl.TableName, data)
	if err == nil && n == 0 {
		err = exists("Table %s.%s already exists", tbl.DbName, tbl.TableName)
	}
	return err
}

// alterTable puts tbl in the place of the table, under another name if tbl has one.
func (t transaction) alterTable(database, name string, tbl *hms.Table) error {
	data, err := t.encode(tbl)
	if err != nil {
		return err
	}
	if tbl.DbName != database || tbl.TableName != name {
		taken, err := t.names(`SELECT name FROM hive_tables WHERE database = ? AND name = ?`, tbl.DbName, tbl.TableName)
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return refused("table %s.%s already exists", tbl.DbName, tbl.TableName)
		}
		if _, err := t.database(tbl.DbName); err != nil {
			return refused("there is no database named %s", tbl.DbName)
		}
		if err := t.moveParts(database, name, tbl); err != nil {
			return err
		}
	}
	n, err := t.exec(`UPDATE hive_tables SET database = ?, name = ?, object = ? WHERE database = ? AND name = ?`, tbl.DbName, tbl.TableName, data, database, name)
	if err == nil && n == 0 {
		err = refused("table %s.%s doesn't exist", database, name)
	}
	return err
}

// moveParts gives what belongs to the table to one of tbl's name.
func (t transaction) moveParts(database, name string, tbl *hms.Table) error {
	for _, part := range parts {
		if _, err := t.exec(`UPDATE `+part+` SET database = ?, "table" = ? WHERE database = ? AND "table" = ?`, tbl.DbName, tbl.TableName, database, name); err != nil {
			return err
		}
	}
	return nil
}

func (t transaction) table(database, name string) (*hms.Table, error) {
	tbl := hms.NewTable()
	found, err := t.object(tbl, `SELECT object FROM hive_tables WHERE database = ? AND name = ?`, database, name)
	if err == nil && !found {
		err = missing("%s.%s table not found", database, name)
	}
	return tbl, err
}

func (t transaction) tables(database string) ([]string, error) {
	return t.names(`SELECT name FROM hive_tables WHERE database = ? ORDER BY name`, database)
}

func (t transaction) dropTable(database, name string) error {
	for _, part := range parts {
		if _, err := t.exec(`DELETE FROM `+part+` WHERE database = ? AND "table" = ?`, database, name); err != nil {
			return err
		}
	}
	_, err := t.exec(`DELETE FROM hive_tables WHERE database = ? AND name = ?`, database, name)
	return err
}
