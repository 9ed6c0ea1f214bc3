# The leader is cut off: it gives up before another node is promoted, and joins again when the cut heals.
# VMs: their cables can be pulled.
{
  machines = "nodes";

  testScript = ''
    start_cluster()
    old, before = leader_name(), timeline()
    machine = machine_of(old)

    def writable() -> bool:
        code, output = machine.execute("psql -XAtq -h /run/postgresql -U postgres -c 'select not pg_is_in_recovery()'", timeout=5)
        return code == 0 and output.strip() == "t"

    assert writable()
    machine.block()

    with subtest("never two writable leaders: the old one has demoted itself when the new one is there"):
        others = [m for m in POSTGRES if m is not machine]
        deadline = time.monotonic() + 90
        promoted = False
        while not promoted and time.monotonic() < deadline:
            for other in others:
                code, output = other.execute("psql -XAtq -h /run/postgresql -U postgres -c 'select not pg_is_in_recovery()'", timeout=5)
                if code == 0 and output.strip() == "t":
                    assert not writable(), f"{old} and {other.name} are both writable"
                    promoted = True
            time.sleep(0.2)
        assert promoted, "nobody was promoted"

    with subtest("writes go on without it"):
        wait_for_write(60)
        assert_nothing_lost()

    with subtest("healed, it follows the new leader"):
        machine.unblock()
        wait_for_cluster(timeout_s=120)
        assert leader_name() != old and timeline() > before, members()
        assert_nothing_lost()
  '';
}
