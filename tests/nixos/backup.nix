# A backup to the repository host, and a restore to the moment before a mistake.
{
  inventory = "backup";

  testScript = ''
    start_cluster()
    CONFIG = "set -a; . /run/pgha/environment; set +a; "
    AS_PGBACKREST = CONFIG + "runuser -u pgbackrest -- pgbackrest --config=$PGBACKREST_CONFIG --stanza=$PGBACKREST_STANZA "
    AS_POSTGRES = CONFIG + "cd /; runuser -u postgres -- pgbackrest --config=$PGBACKREST_CONFIG --stanza=$PGBACKREST_STANZA "

    with subtest("the stanza is made, WAL arrives, and a full backup goes through the payload's unit"):
        backup.wait_for_unit("pgbackrest.service")
        wait_for("stanza-create", lambda: backup.execute(AS_PGBACKREST + "stanza-create 2>&1")[0] == 0, 60)
        wait_for("check", lambda: backup.execute(AS_PGBACKREST + "check 2>&1")[0] == 0 or backup.execute(AS_PGBACKREST + "check 2>&1")[1][-300:], 120)
        backup.succeed("systemctl start pgha-backup@full.service", timeout=300)
        info = json.loads(backup.succeed(AS_PGBACKREST + "info --output=json"))
        assert [b["type"] for b in info[0]["backup"]] == ["full"], info

    with subtest("the schedule of the inventory is armed"):
        assert "pgha-backup@full.timer" in backup.succeed("systemctl list-timers --all --no-legend")

    with subtest("rows, a moment, a mistake"):
        for _ in range(10):
            assert write()
        kept = len(acknowledged)
        # pgBackRest counts in seconds, and restores a backup that ended in an earlier one than the target's.
        time.sleep(2)
        code, moment = psql("select now()")
        assert code == 0, moment
        time.sleep(2)
        assert psql("drop table rows")[0] == 0
        machine = machine_of(leader_name())
        operate(machine, "psql -Xqc 'select pg_switch_wal()' postgres")
        wait_for("the WAL of the mistake in the repository", lambda: operate(machine, "psql -XAtqc 'select last_archived_time > now() - interval $$30 s$$ from pg_stat_archiver'").strip() == "t", 60)

    with subtest("restored to that moment, the rows are back and the cluster is whole"):
        for node in POSTGRES:
            node.succeed("systemctl stop patroni.service")
        operate(etcd_1, "etcdctl del --prefix /service/lab/")
        machine.succeed(AS_POSTGRES + f"--delta --type=time '--target={moment.strip()}' --target-action=promote restore", timeout=300)
        # Recovery ends here, by hand; Patroni would take the recovery target out of the configuration.
        bindir = machine.succeed("systemctl show -P Environment patroni.service | tr ' ' '\\n' | sed -n s/^PATRONI_POSTGRESQL_BIN_DIR=//p").strip()
        data = "/var/lib/pgha/postgresql/data"
        pg_ctl = f"cd /; runuser -u postgres -- env PATH=$PATH:{bindir} {bindir}/pg_ctl -D {data} -w -t 120 "
        machine.succeed(pg_ctl + "-o '-c listen_addresses= -c archive_mode=off' -l /tmp/recovery.log start")
        wait_for("the end of recovery", lambda: machine.succeed("psql -XAtq -h /run/postgresql -U postgres -c 'select pg_is_in_recovery()'").strip() == "f", 60)
        machine.succeed(pg_ctl + "-m fast stop")
        machine.succeed("systemctl start patroni.service")
        wait_for("it to lead", lambda: leader_name() != "", 60)
        for node in POSTGRES:
            if node is not machine:
                node.succeed(f"rm -rf {data}", "systemctl start patroni.service")
        wait_for_cluster(timeout_s=180)
        wait_for_write(30)
        code, output = psql(f"select count(*) from rows where n <= {kept}")
        assert (code, output.strip()) == (0, str(kept)), output

    with subtest("it stops in order: a leader ends when its last WAL is in the repository"):
        for node in sorted(POSTGRES, key=lambda node: node.name == leader_name()):
            node.succeed("systemctl stop patroni.service", timeout=60)
  '';
}
