# PostgreSQL under Patroni: leader, synchronous standby or replica, as the cluster decides.
{
  services.pgha = {
    enable = true;
    role = "postgres";
  };
}
