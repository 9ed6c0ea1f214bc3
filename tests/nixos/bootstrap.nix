# From blank data disks and identities by `pgha-orch render` to a cluster that takes writes.
# VMs: the identity comes as a credential of the firmware, and the data disk is formatted.
{
  machines = "nodes";

  testScript = ''
    start_cluster()

    def at_rest(machine) -> bool | str:
        _, state = machine.execute("systemctl is-system-running")
        _, units = machine.execute("systemctl list-units --state=failed,activating --plain --no-legend")
        return (state.strip() == "running" and not units.strip()) or f"{state} {units}"

    with subtest("every machine is running, under the name and with the role of its identity"):
        for machine in machines:
            if machine is client:
                continue
            machine.wait_for_unit("pgha.target")
            wait_for(f"{machine.name} at rest", lambda: at_rest(machine))
            # A service that crashes and comes back is "running" most of the time.
            counts = machine.succeed("systemctl show -p NRestarts $(systemctl show -P Wants pgha.target)").split()
            assert set(counts) == {"NRestarts=0"}, machine.succeed("journalctl -b --no-pager -n 40")
            identity = dict(line.split("=", 1) for line in machine.succeed("cat /run/pgha/identity.env").split())
            assert machine.succeed("hostname").strip() == identity["PGHA_HOST"], identity
            assert machine.succeed("cat /etc/pgha/role").strip() == identity["PGHA_ROLE"], identity
            image = json.loads(machine.succeed("cat /etc/pgha/image.json"))
            assert (image["contract"], image["builder"]) == (1, "nix"), image

    with subtest("the data is on the data disk and the rest of the machine is not"):
        for machine in POSTGRES:
            machine.succeed("mountpoint /var/lib/pgha")
            machine.succeed("test -s /var/lib/pgha/postgresql/data/PG_VERSION")
            machine.succeed("test /var/log/journal -ef /var/lib/pgha/log/journal")

    with subtest("a row written through port 5000 is read back through port 5001, from a replica"):
        code, output = psql("select pg_is_in_recovery() from rows limit 1", port=5001)
        assert (code, output.strip()) == (0, "t"), output
        code, output = psql("select pg_is_in_recovery()", port=5000)
        assert (code, output.strip()) == (0, "f"), output
        assert_nothing_lost()
  '';
}
