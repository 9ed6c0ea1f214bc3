# A frozen Patroni: the watchdog resets its machine before another node can have the leader key.
# VMs: it takes a kernel to be reset.
{
  inventory = "watchdog";
  machines = "nodes";

  testScript = ''
    start_cluster()
    old = leader_name()
    machine = machine_of(old)

    with subtest("the leader holds the watchdog, and it is Patroni's user who does"):
        assert machine.succeed("stat -c %U /dev/watchdog").strip() == "postgres"
        wait_for("the watchdog to be held", lambda: machine.execute("fuser -s /dev/watchdog || test -n \"$(find /proc/[0-9]*/fd -lname /dev/watchdog 2>/dev/null)\"")[0] == 0, 30)

    with subtest("frozen, the machine is reset while nobody else leads yet"):
        machine.succeed("kill -STOP $(systemctl show -P MainPID patroni.service)")
        # The test driver starts QEMU with -no-reboot: a reset ends it.
        machine.wait_for_shutdown()
        assert leader_name() in ("", old), members()

    with subtest("then a standby is promoted"):
        wait_for("another leader", lambda: leader_name() not in ("", old) or members(), 60)
        wait_for_write(60)
        assert_nothing_lost()

    with subtest("and the machine that was reset becomes a replica"):
        machine.start()
        wait_for_cluster(timeout_s=120)
        assert_nothing_lost()
  '';
}
