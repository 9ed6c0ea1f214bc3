# Two etcd members of three go away: with failsafe mode the leader goes on, since it reaches every other member.
{
  testScript = ''
    start_cluster()
    leader, before = leader_name(), timeline()
    lost = [etcd_2, etcd_3]
    for machine in lost:
        machine.succeed("systemctl kill --signal=KILL etcd.service && systemctl stop etcd.service")

    with subtest("writes go on for longer than the leader lock lives (20 s)"):
        start, failed = time.monotonic(), 0
        while time.monotonic() - start < 45:
            failed += 0 if write() else 1
            time.sleep(0.5)
        assert failed == 0, f"{failed} writes failed"

    with subtest("with the quorum back, the leader is who it was"):
        for machine in lost:
            machine.succeed("systemctl start --no-block etcd.service")
        wait_for_cluster(timeout_s=90)
        assert (leader_name(), timeline()) == (leader, before), members()
        assert_nothing_lost()
  '';
}
