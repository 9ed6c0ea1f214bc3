# SIGKILL of the leader's PostgreSQL fails over; SIGKILL of its Patroni does not even cost a session.
{
  testScript = ''
    start_cluster()

    with subtest("a killed Patroni is back within seconds and PostgreSQL has not noticed"):
        name, before = leader_name(), timeline()
        machine = machine_of(name)
        postmaster = machine.succeed("head -1 /var/lib/pgha/postgresql/data/postmaster.pid").strip()
        machine.succeed("systemctl kill --signal=KILL --kill-whom=main patroni.service")
        machine.wait_for_unit("patroni.service")
        wait_for_cluster(timeout_s=30)
        assert (leader_name(), timeline()) == (name, before), members()
        assert machine.succeed("head -1 /var/lib/pgha/postgresql/data/postmaster.pid").strip() == postmaster
        wait_for_write(10)

    with subtest("a killed PostgreSQL is taken over by the synchronous standby"):
        name, before = leader_name(), timeline()
        standby = of_role("Sync Standby")
        machine_of(name).succeed("kill -KILL $(head -1 /var/lib/pgha/postgresql/data/postmaster.pid)")
        wait_for("another leader", lambda: leader_name() in standby or members(), 60)
        wait_for("a new timeline", lambda: timeline() > before or timeline(), 30)
        wait_for_write(30)
        assert_nothing_lost()

    with subtest("the old leader comes back as a replica"):
        wait_for_cluster(timeout_s=90)
        assert leader_name() != name
        assert_nothing_lost()
  '';
}
