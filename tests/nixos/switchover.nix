# A planned switchover: another leader, a timeline further, no row lost, the old leader streams.
{
  testScript = ''
    start_cluster()
    old, before = leader_name(), timeline()
    candidate = of_role("Sync Standby")[0]

    operate(machine_of(old), f"patronictl switchover --leader {old} --candidate {candidate} --force")

    with subtest("the candidate leads, on a new timeline"):
        wait_for("the candidate to lead", lambda: leader_name() == candidate or leader_name(), 30)
        wait_for("a new timeline", lambda: timeline() == before + 1 or timeline(), 30)

    with subtest("clients write again, without a change on their side"):
        wait_for_write(30)
        for _ in range(20):
            assert write(), "a write went to a replica"
        assert_nothing_lost()

    with subtest("the old leader streams from the new one"):
        wait_for_cluster(timeout_s=60)
        assert old not in of_role("Leader"), members()
  '';
}
