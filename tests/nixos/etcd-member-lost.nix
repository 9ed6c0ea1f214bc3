# One etcd member of three goes away and comes back: nobody who writes notices.
{
  testScript = ''
    start_cluster()
    leader, before = leader_name(), timeline()
    etcd_1.succeed("systemctl stop etcd.service")

    with subtest("writes go on, with the same leader"):
        for _ in range(30):
            assert write(), "a write failed"
            time.sleep(0.5)
        assert (leader_name(), timeline()) == (leader, before), members()

    with subtest("the member joins again"):
        etcd_1.succeed("systemctl start etcd.service")
        wait_for("three healthy members", lambda: operate(etcd_2, "etcdctl endpoint health --cluster 2>&1 || true").count("is healthy") == 3, 60)
        assert (leader_name(), timeline()) == (leader, before), members()
        assert_nothing_lost()
  '';
}
