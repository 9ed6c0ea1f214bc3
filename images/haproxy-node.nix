# Where clients connect: 5000 leads to the leader, 5001 to the replicas.
{
  services.pgha = {
    enable = true;
    role = "haproxy";
  };
}
