"""Networks of check_convert.py, each with the shape of a row and whether it takes ids."""
import torch
from torch import nn
from torch.nn import functional as F


class Shapes(nn.Module):
    """Everything that changes shapes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3, stride=2, padding=1, dilation=2)
        self.dense = nn.Linear(22, 6)

    def forward(self, x):
        x = self.conv(x)
        a, b = x.chunk(2, 1)
        x = torch.cat([a * torch.sigmoid(b), (a - b)[:, 1:3], -a], 1)
        x = x.unsqueeze(1).transpose(2, 3).squeeze(1)
        x = torch.stack([x.mean(-1), x.amax(-1)], -1)
        return self.dense(x.reshape(x.shape[0], -1))


class Mobile(nn.Module):
    """Hard swish and sigmoid, relu6, ceil_mode without effect, padding as its own layer."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU6(), nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(3, 1, 1),
            nn.Conv2d(8, 8, 1), nn.LeakyReLU(0.2))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.net(x)
        x = x * self.gate(x)
        return F.log_softmax(self.head(F.dropout(x.mean([2, 3]), 0.5, self.training)), 1)


class Words(nn.Module):
    """A pre-norm transformer block with both forms of Gelu and a tied head."""

    def __init__(self, size=16, heads=4):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(30, size)
        self.position = nn.Parameter(torch.zeros(1, 8, size))
        self.norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.up, self.down = nn.Linear(size, 24), nn.Linear(24, size)
        self.head = nn.Linear(size, 30, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        x = self.embed(x) + self.position
        batch, length, size = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2)
                   for t in self.qkv(self.norm(x)).chunk(3, -1))
        y = torch.softmax(q @ k.transpose(-2, -1) / (size // self.heads) ** 0.5, -1) @ v
        x = x + y.transpose(1, 2).reshape(batch, length, size)
        y = F.gelu(self.up(self.norm(x)))
        x = x + self.down(F.gelu(y, approximate="tanh"))
        return self.head(self.norm(x)[:, 0])


class TorchEncoder(nn.Module):
    """torch's own encoder layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


NETS = ((Shapes, (3, 23), False), (Mobile, (3, 16, 16), False), (Words, (8,), True),
           (TorchEncoder, (8,), True))
