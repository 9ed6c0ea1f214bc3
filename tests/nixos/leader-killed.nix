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
        _, now = machine.execute("head -1 /var/lib/pgha/postgresql/data/postmaster.pid")
        assert now.strip() == postmaster, "PostgreSQL did not outlive its Patroni"
        assert (leader_name(), timeline()) == (name, before), members()
        wait_for_write(10)

    with subtest("a killed PostgreSQL costs no acknowledged row, and clients write again"):
        name, before = leader_name(), timeline()
        standby = of_role("Sync Standby")
        machine = machine_of(name)
        postmaster = machine.succeed("head -1 /var/lib/pgha/postgresql/data/postmaster.pid").strip()
        machine.succeed(f"kill -KILL {postmaster}")
        machine.wait_until_fails(f"kill -0 {postmaster}", timeout=30)
        wait_for_write(60)
        wait_for_cluster(timeout_s=120)
        assert_nothing_lost()

    with subtest("it was the synchronous standby that took over, on a new timeline"):
        # primary_start_timeout is 0: a crashed primary is not restarted while a standby can take over.
        assert leader_name() in standby, f"{leader_name()} leads, the sync standby was {standby}"
        assert timeline() > before, members()
  '';
}
