# The leader's power goes: a standby takes over within the failover preset, nothing acknowledged is lost.
# VMs: only these can be cut off from their power.
{
  machines = "nodes";

  testScript = ''
    start_cluster()
    old, before = leader_name(), timeline()
    machine = machine_of(old)
    machine.crash()
    start = time.monotonic()

    with subtest("another node leads and takes writes; ttl 20 s and HAProxy's checks bound how late"):
        wait_for_write(60)
        took = time.monotonic() - start
        assert took < 45, f"{took:.0f} s without writes"
        assert leader_name() != old, members()
        wait_for("a new timeline", lambda: timeline() > before or timeline(), 30)
        assert_nothing_lost()

    with subtest("the machine comes back as a replica, on the data it had"):
        machine.start()
        wait_for_cluster(timeout_s=120)
        assert leader_name() != old, members()
        assert_nothing_lost()
  '';
}
