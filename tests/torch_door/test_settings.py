"""What PyTorch has set for its own threads is what it was, after any call of fastbp and in either order of imports."""

from torture import others


def test_a_call_changes_no_setting_of_torch(torch):
    found = others.settings(2, calls=4, kinds=("step", "fit", "by_hand", "torch"))
    assert found.failures == []
    assert found.times > 0


def test_torch_keeps_the_one_thread_that_it_was_given(torch, door):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        door.MLP([4, 8, 2])(torch.randn(1, 4)).sum().backward()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
