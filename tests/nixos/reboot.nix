# Every machine at once: a power cut in the rack. The cluster comes back by itself, with all that was acknowledged.
# VMs: the data has to outlive a kernel.
{
  machines = "nodes";

  testScript = ''
    start_cluster()
    for _ in range(20):
        assert write()
    before = timeline()
    cluster = [etcd_1, etcd_2, etcd_3, *POSTGRES, haproxy]
    disk = POSTGRES[0].succeed("cat /var/lib/pgha/postgresql/data/PG_VERSION; stat -c %i /var/lib/pgha/postgresql/data")

    for machine in cluster:
        machine.crash()
    for machine in cluster:
        machine.start()

    with subtest("the cluster settles by itself"):
        wait_for_cluster(timeout_s=180)
        wait_for_write(60)

    with subtest("the data disks are the ones of before, not formatted again"):
        assert POSTGRES[0].succeed("cat /var/lib/pgha/postgresql/data/PG_VERSION; stat -c %i /var/lib/pgha/postgresql/data") == disk
        assert timeline() >= before
        assert_nothing_lost()
  '';
}
